// <input type="datetime-local" data-moment="since">: a moment on the viewer's clock. What the form sends is
// the input of that name beside it, which holds the moment itself; empty, it is not sent.

const EARLIEST_YEAR = 1970; // An earlier one is not typed to its end yet.

const two = (number) => String(number).padStart(2, "0");

function onTheClock(at) {
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day}T${two(at.getHours())}:${two(at.getMinutes())}`;
}

function show() {
  for (const field of document.querySelectorAll("input[data-moment]")) {
    const sent = field.form.elements[field.dataset.moment].value;
    if (field !== document.activeElement && !("early" in field.dataset)) field.value = sent ? onTheClock(new Date(sent)) : "";
  }
}

// Before the form hears of it, and asks for what is filtered.
document.addEventListener("input", (event) => {
  const field = event.target;
  if (!field.matches?.("input[data-moment]")) return;
  const at = field.value ? new Date(field.value) : null;
  if (at && at.getFullYear() < EARLIEST_YEAR) { event.stopPropagation(); return; }
  const sent = field.form.elements[field.dataset.moment];
  sent.value = at ? at.toISOString() : "";
  sent.disabled = !at;
  // A range that ends now would go before.
  for (const range of field.form.querySelectorAll("[name=range]")) {
    if (range.type === "radio") range.checked = at !== null && range.value === "";
    else range.disabled = true;
  }
}, { capture: true });

document.addEventListener("htmx:afterSettle", show);
show();
