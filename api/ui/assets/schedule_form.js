// The form of a schedule: the browser's time zone to begin with, and examples to start from.

const form = document.getElementById("schedule");

function changed() { form.dispatchEvent(new Event("input", { bubbles: true })); }

if (form && "fresh" in form.dataset) {
  const zone = new Intl.DateTimeFormat().resolvedOptions().timeZone, field = form.elements.timezone;
  if (zone && zone !== field.value && !("early" in field.dataset)) {
    field.value = zone;
    changed();
  }
}

document.addEventListener("click", (event) => {
  const example = event.target.closest?.("[data-cron]");
  if (!example) return;
  form.elements.cron.value = example.dataset.cron;
  changed();
});
