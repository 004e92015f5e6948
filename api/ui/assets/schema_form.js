// Forms made from a schema (schema_form.html): items that are added and removed, the zone of dates
// with times, and the choice between fields and JSON, which the server turns into each other.

import { send } from "./actions.js";

const zone = new Intl.DateTimeFormat().resolvedOptions().timeZone;

function two(number) { return String(number).padStart(2, "0"); }

/** Dates with times as this browser's clock shows them. */
function localise(root) {
  for (const input of root.querySelectorAll("input[data-clock]")) input.value = zone;
  for (const name of root.querySelectorAll("[data-clock-name]")) name.textContent = zone;
  for (const input of root.querySelectorAll("input[data-moment]")) {
    const moment = new Date(input.dataset.moment);
    delete input.dataset.moment;
    if (Number.isNaN(moment.getTime()) || "early" in input.dataset) continue;
    input.value = `${moment.getFullYear()}-${two(moment.getMonth() + 1)}-${two(moment.getDate())}T${two(moment.getHours())}:${two(moment.getMinutes())}:${two(moment.getSeconds())}`;
  }
}

function add(items) {
  const at = items.dataset.next;
  items.dataset.next = String(Number(at) + 1);
  const template = items.querySelector(":scope > template");
  const made = document.createElement("template");
  made.innerHTML = template.innerHTML.replaceAll(items.dataset.token, at);
  const item = made.content.firstElementChild;
  template.before(item);
  localise(item);
  item.querySelector("input:not([type=hidden]), select, textarea")?.focus();
}

document.addEventListener("click", (event) => {
  const adds = event.target.closest?.("[data-add]"), removes = event.target.closest?.("[data-remove]");
  if (adds) add(adds.parentElement);
  if (removes) {
    const items = removes.closest("[data-items]");
    removes.closest(".item").remove();
    items.querySelector(":scope > [data-add]").focus();
  }
});

document.addEventListener("change", async (event) => {
  const input = event.target, around = input.closest(".schema-form");
  if (!around || !input.matches(".switch input")) return;
  const name = input.name, other = around.querySelector(`.switch input:not([value="${input.value}"])`);
  const said = await send(around.dataset.switch, new URLSearchParams(new FormData(input.form)), input.form);
  if (!said || said.failed) { other.checked = true; return; }
  localise(around);
  around.querySelector(`.switch input[name="${CSS.escape(name)}"]:checked`)?.focus();
});

document.addEventListener("pluperfect:patched", (event) => localise(event.target));
localise(document);
