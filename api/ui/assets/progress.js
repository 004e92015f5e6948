// How far runs are, of the time that is usual: <progress data-before="seconds" data-from="moment">.

const TICK_MILLISECONDS = 1000;

function tell() {
  for (const bar of document.querySelectorAll("progress[data-from]:not([hidden])")) {
    const seconds = Number(bar.dataset.before) + Math.max(0, Date.now() - Date.parse(bar.dataset.from)) / 1000;
    bar.value = Math.min(seconds, bar.max);
    bar.toggleAttribute("data-over", seconds > bar.max);
  }
}

tell();
setInterval(() => { if (!document.hidden) tell(); }, TICK_MILLISECONDS);
document.addEventListener("pluperfect:patched", tell);
document.addEventListener("htmx:afterSettle", tell);
