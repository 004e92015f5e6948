// The flow run's page: what the timeline says in the address survives a change of tabs.

const KEPT = ["open", "at"];

document.addEventListener("htmx:configRequest", (event) => {
  const here = new URLSearchParams(location.search);
  for (const name of KEPT) {
    const values = here.getAll(name);
    if (values.length && !new URL(event.detail.path, location.href).searchParams.has(name)) event.detail.parameters[name] = values;
  }
});

// On a narrow screen the tabs scroll sideways: the one that is shown is in sight.
function seeTab() {
  const tab = document.querySelector(".run-strip [aria-current]"), strip = tab?.parentElement;
  if (!tab) return;
  const box = tab.getBoundingClientRect(), around = strip.getBoundingClientRect();
  if (box.right > around.right) strip.scrollLeft += box.right - around.right;
  else if (box.left < around.left) strip.scrollLeft -= around.left - box.left;
}

document.addEventListener("htmx:afterSettle", seeTab);
seeTab();
