// What is typed or chosen before the other scripts are there is told to them once they are: on a slow
// network somebody can fill in a filter before anything listens. Not a module, so that it is there
// first. Until it is told, a field has `data-early`; scripts that begin leave its value as it is.
(() => {
  const note = (event) => { event.target.dataset.early = ""; };
  const again = (field, type) => field.dispatchEvent(new Event(type, { bubbles: true }));
  document.addEventListener("input", note, true);
  document.addEventListener("DOMContentLoaded", () => setTimeout(() => { // Others wait for the same event.
    document.removeEventListener("input", note, true);
    for (const field of document.querySelectorAll("[data-early]")) {
      delete field.dataset.early;
      again(field, "input");
      if (field.matches("select, [type=checkbox], [type=radio]")) again(field, "change");
    }
  }));
})();
