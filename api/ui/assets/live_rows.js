// <live-rows>: the newest rows of a list, as they come (templates/log.html, events.html).
//
// Who reads at the top sees new rows appear there. Who has scrolled down, or is on a later page, or
// asked for it to hold still, sees how many there are, on a button that shows them: nothing moves
// below the reader's eyes. A row names its place (`data-place`: numbers, the greatest first).

import { key } from "./keys.js";
import { grouped, tell } from "./times.js";

const TOP_PIXELS = 48; // Further down, somebody reads.
const ROWS_MAX = 500; // Of those that came; the oldest rows then leave at the bottom.
const FRESH_MILLISECONDS = 1500;
const REFRESH_MILLISECONDS = 2000; // The whole list is fetched anew no more often than this.

const places = (row) => row.dataset.place.split(".").map(Number);
const later = (one, other) => {
  const [a, b] = [places(one), places(other)];
  return a[0] !== b[0] ? a[0] > b[0] : (a[1] ?? 0) > (b[1] ?? 0);
};

customElements.define("live-rows", class extends HTMLElement {
  static observedAttributes = ["data-mark"];
  #waiting = [];
  #more = 0; // New ones of which no row was sent.
  #reload = false;
  #refreshed = -REFRESH_MILLISECONDS;
  #again = 0;
  #scrolled = () => { if (this.#reading() === false) this.#show(); };

  connectedCallback() {
    this.addEventListener("click", (event) => { if (event.target.closest(".news")) this.#asked(); });
    addEventListener("scroll", this.#scrolled, { passive: true });
  }

  disconnectedCallback() {
    removeEventListener("scroll", this.#scrolled);
    clearTimeout(this.#again);
  }

  /** The list was fetched anew: what waits is in it, or comes once more (`follow` in live.js), or belongs
      to another filter. */
  attributeChangedCallback() {
    this.#waiting = [];
    this.#more = 0;
    this.#reload = false;
    this.#sign();
  }

  receive({ rows = "", number = 0, missed = false }) {
    const table = document.createElement("table");
    table.innerHTML = `<tbody>${rows}</tbody>`;
    const sent = [...table.querySelectorAll("tr")];
    this.#waiting.unshift(...sent.filter((row) => !document.getElementById(row.id)));
    this.#more += number - sent.length;
    this.#reload ||= missed || this.#more > 0 || this.#waiting.length > ROWS_MAX;
    // The whole list will be fetched: rows that nobody will see are not kept, however long one reads.
    if (this.#reload) this.#more += this.#waiting.splice(0).length;
    if (this.#reading()) this.#sign();
    else this.#show();
  }

  /** Whether new rows would disturb somebody. */
  #reading() {
    return !("first" in this.dataset) || "still" in this.dataset || scrollY > TOP_PIXELS;
  }

  #asked() {
    if (!("first" in this.dataset)) { location.assign(this.dataset.newest); return; }
    scrollTo({ top: 0 });
    this.#refreshed = -REFRESH_MILLISECONDS;
    this.#show();
  }

  /** More came than was sent: the list as it is now, in place. */
  #refresh() {
    const now = performance.now(), wait = this.#refreshed + REFRESH_MILLISECONDS - now;
    clearTimeout(this.#again);
    if (wait > 0) {
      this.#again = setTimeout(() => { if (this.#reload && !this.#reading()) this.#refresh(); }, wait);
      this.#sign();
      return;
    }
    this.#refreshed = now;
    htmx.ajax("GET", this.dataset.newest, { target: "#main", select: "#main", swap: "morph:outerHTML" });
  }

  #show() {
    if (this.#reload) { this.#refresh(); return; }
    const body = this.querySelector("tbody");
    for (const row of this.#waiting.splice(0).reverse()) {
      const before = [...body.rows].find((one) => later(row, one));
      // Older than this page: it belongs to the next one.
      if (!before && this.querySelector("a[rel=next]:not([hidden])")) continue;
      row.dataset.fresh = "";
      setTimeout(() => { delete row.dataset.fresh; }, FRESH_MILLISECONDS);
      body.insertBefore(row, before ?? null);
    }
    this.querySelector("[data-table]").hidden = body.rows.length === 0;
    this.querySelector("[data-empty]")?.toggleAttribute("hidden", body.rows.length > 0);
    this.#shorten(body);
    tell(body);
    this.#sign();
    this.dispatchEvent(new CustomEvent("pluperfect:patched", { bubbles: true }));
  }

  #shorten(body) {
    if (body.rows.length <= ROWS_MAX) return;
    while (body.rows.length > ROWS_MAX) body.rows[body.rows.length - 1].remove();
    const next = this.querySelector("a[rel=next]");
    if (!next) return;
    const address = new URL(next.href);
    address.searchParams.set("after", body.rows[body.rows.length - 1].dataset.place);
    next.href = address;
    next.hidden = false;
  }

  #sign() {
    const button = this.querySelector(".news");
    if (!button) return;
    const number = this.#waiting.length + this.#more, noun = this.dataset.noun;
    button.hidden = number === 0 && !this.#reload;
    button.textContent = number === 0 ? `New ${noun}s` : `${grouped(number)} new ${noun}${number === 1 ? "" : "s"}`;
  }
});

/** Go to the next (1) or previous (-1) row. */
function step(by) {
  const rows = [...document.querySelectorAll("live-rows tbody tr")];
  const at = rows.indexOf(document.activeElement?.closest("tr"));
  const row = rows[at < 0 ? 0 : Math.min(rows.length - 1, Math.max(0, at + by))];
  row?.querySelector(".main-cell a").focus();
}

key("j", () => step(1));
key("k", () => step(-1));
key("n", () => document.querySelector("live-rows .news:not([hidden])")?.click());
