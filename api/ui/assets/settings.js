// The settings page: which theme holds, and the choice of another.

import { setTheme } from "./shell.js";

const current = () => document.documentElement.dataset.theme ?? "system";

function show() {
  for (const choice of document.querySelectorAll("[data-theme-choice] input")) choice.checked = choice.value === current();
}

document.addEventListener("change", (event) => {
  if (event.target.closest?.("[data-theme-choice]")) setTheme(event.target.value);
});
// The sidebar and the key `t` change it as well.
new MutationObserver(show).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
document.addEventListener("htmx:afterSettle", show);
show();
