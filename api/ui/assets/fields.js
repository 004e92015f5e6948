// What is wrong in a form, said at its fields: `<p data-wrong="NAME" id="ID-wrong" hidden>` is the
// place for what is wrong with the input ID. See Said.errors in api/ui/page.py.

/** Say what is wrong, by names of inputs; resolves to what has no place in the form. */
export function mark(form, errors) {
  for (const place of form.querySelectorAll("[data-wrong]")) {
    if (!place.hidden) { place.hidden = true; place.textContent = ""; }
  }
  for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  const homeless = [];
  let first = null;
  for (const [name, text] of Object.entries(errors)) {
    const place = form.querySelector(`[data-wrong="${CSS.escape(name)}"]`);
    if (!place) { homeless.push(text); continue; }
    place.textContent = text;
    place.hidden = false;
    const input = document.getElementById(place.id.replace(/-wrong$/, ""));
    input?.setAttribute("aria-invalid", "true");
    if (input && (!first || input.compareDocumentPosition(first) & Node.DOCUMENT_POSITION_FOLLOWING)) first = input;
  }
  first?.focus();
  return homeless;
}
