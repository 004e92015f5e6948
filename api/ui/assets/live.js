// Keeps the page live: one stream of server-sent events per page that can be seen.
//
//   patch  {region id: HTML}    morphed into place: focus, selection, menus, scroll survive
//   data   {element id: JSON}   given to the element's receive(), for custom elements
//   gone   text                 what the page is about does not exist any more
//   here                        nothing to tell; a stream that is not even that is dead
//
// A page that nobody sees holds no connection (browsers allow six per origin); it goes on where it
// was when it is seen again. `pluperfect:patched` is dispatched on each region after a patch.

import { toast } from "./actions.js";
import { morph } from "./morph.js";
import { tell } from "./times.js";

const RETRY_MILLISECONDS = [1000, 2000, 5000, 15000];
const LOST_AFTER_MILLISECONDS = 1500; // A restart that is quicker than this is not worth a word.
const SILENT_MILLISECONDS = 45_000; // Three times what a stream is quiet for: KEEP_ALIVE_SECONDS of live.py.

const sign = document.getElementById("connection");
let stream = null, position = null, made = null, address = null, rendered = null, failures = 0, retry = 0, worry = 0, watch = 0, ended = false;
let unanswered = null; // A form of filters that says something else than what is shown.

function is(state, text) {
  clearTimeout(worry);
  worry = 0;
  sign.dataset.is = state;
  sign.lastElementChild.textContent = text;
}

function lost() {
  if (worry || sign.dataset.is === "lost") return;
  worry = setTimeout(() => is("lost", "connection lost, trying again"), LOST_AFTER_MILLISECONDS);
}

/** Somebody is there, or ought to be. A connection whose other end vanished without a word (a machine that
    slept, another network, a server that hangs) is open to the browser for ever. */
function alive() {
  clearTimeout(watch);
  watch = setTimeout(() => { is("lost", "connection lost, trying again"); open(); }, SILENT_MILLISECONDS);
}

function heard(message) {
  alive();
  position = message.lastEventId || position;
  return JSON.parse(message.data);
}

function open() {
  close();
  if (document.hidden || ended || address === null) return;
  const root = document.documentElement.dataset.root;
  const query = new URLSearchParams({ page: address, position, made });
  stream = new EventSource(`${root}live?${query}`);
  alive();
  stream.addEventListener("here", alive);
  stream.addEventListener("hello", () => { alive(); failures = 0; is("live", "live"); again(); });
  stream.addEventListener("patch", (message) => {
    for (const [id, html] of Object.entries(heard(message))) {
      const element = document.getElementById(id);
      if (element) morph(element, html);
    }
  });
  stream.addEventListener("data", (message) => {
    for (const [id, data] of Object.entries(heard(message))) {
      document.getElementById(id)?.receive?.(data);
    }
  });
  stream.addEventListener("gone", (message) => {
    ended = true;
    close();
    is("gone", heard(message));
    clearTimeout(watch);
    sayThatItIsDeleted();
  });
  stream.onerror = () => {
    lost();
    if (stream.readyState !== EventSource.CLOSED) return; // It tries again by itself.
    close();
    const wait = RETRY_MILLISECONDS[Math.min(failures++, RETRY_MILLISECONDS.length - 1)];
    retry = setTimeout(open, wait);
  };
}

/** What the page is about was deleted: said on top (`ui.deleted`), and nothing can be done with it any more. */
function sayThatItIsDeleted() {
  const notice = document.getElementById("deleted");
  if (!notice) return;
  const main = document.getElementById("main");
  main.prepend(notice.content);
  notice.remove();
  main.querySelector(".title .actions")?.remove();
  scrollTo({ top: 0 });
}

function again() {
  const form = unanswered;
  unanswered = null;
  if (form?.isConnected) form.requestSubmit();
}

function close() {
  clearTimeout(retry);
  clearTimeout(watch);
  stream?.close();
  stream = null;
}

/** Follow what the document shows now; called anew when `main` was fetched anew. What had come meanwhile is
    not in it, so it is followed from where it was rendered, also if its address is the same. */
export function follow() {
  const main = document.getElementById("main");
  if (main.dataset.position === undefined) return;
  const base = new URL(document.documentElement.dataset.root, location.href);
  const here = `/${location.pathname.slice(base.pathname.length)}${location.search}`;
  if (here === address && main.dataset.position === rendered) return;
  address = here;
  position = rendered = main.dataset.position;
  made = main.dataset.made;
  ended = false;
  open();
}

document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
window.addEventListener("pagehide", close);
window.addEventListener("pageshow", (event) => { if (event.persisted) open(); });
// Lists that were filtered by htmx, other tabs: the address has changed, and main with its position. At once,
// not when it has settled: what the stream of the one before said meanwhile would be put in its place.
document.addEventListener("htmx:afterSwap", () => { tell(); follow(); });
document.addEventListener("htmx:sendError", (event) => {
  const first = unanswered === null;
  unanswered = event.target.closest("form");
  if (stream?.readyState === EventSource.OPEN) setTimeout(again, RETRY_MILLISECONDS[0]); // One that got lost.
  if (first) toast({ text: "The server did not answer; what is shown is as it was. Filters take effect once the connection is back.", failed: true });
});
document.addEventListener("htmx:responseError", (event) => {
  toast({ text: `The server could not show that (error ${event.detail.xhr.status}); what is shown is as it was.`, failed: true });
});

customElements.define("log-position", class extends HTMLElement {
  receive(position) { this.textContent = position; }
});

follow();
