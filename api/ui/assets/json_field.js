// <json-field>: a <textarea> that is filled in with JSON. What is wrong is said while somebody types,
// below it; what is right is said in a word, with its size. The server decides in the end.

const WAIT_MILLISECONDS = 250; // After a key, before something is called wrong.

const encoder = new TextEncoder();

function told(value) {
  if (value === null) return "null";
  if (Array.isArray(value)) return value.length === 1 ? "a list of 1 item" : `a list of ${value.length} items`;
  if (typeof value === "object") {
    const number = Object.keys(value).length;
    return number === 1 ? "an object with 1 member" : `an object with ${number} members`;
  }
  return { string: "text", number: "a number", boolean: "yes or no" }[typeof value];
}

/** What the browser says of a text that is no JSON, without the text itself. */
function wrong(text, error) {
  const said = error.message.replace(/^JSON\.parse: /, "").replace(/, (?:\.\.\.)?".*$/s, "").replace(/ in JSON/, "");
  const hint = /^\s*[A-Za-z_]/.test(text) && !/^\s*(true|false|null)\b/.test(text) ? ' Text stands between quotes: "…".' : "";
  return `This is not JSON yet: ${said}.${hint}`;
}

customElements.define("json-field", class extends HTMLElement {
  #timer = 0;

  connectedCallback() {
    this.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#judge(), WAIT_MILLISECONDS);
    });
    this.addEventListener("focusout", () => this.#judge());
    this.addEventListener("click", (event) => { if (event.target.closest("[data-json-format]")) this.#tidy(); });
    this.#judge();
  }

  disconnectedCallback() { clearTimeout(this.#timer); }

  #judge() {
    clearTimeout(this.#timer);
    const area = this.querySelector("textarea"), place = this.querySelector("[data-wrong]");
    const button = this.querySelector("[data-json-format]"), output = this.querySelector("[data-json-told]");
    let error = "", kind = "";
    if (area.value.trim()) {
      try {
        const value = JSON.parse(area.value);
        const bytes = encoder.encode(JSON.stringify(value)).length, most = Number(this.dataset.bytesMax);
        if (most && bytes > most) error = `A value may have ${most} bytes as JSON; this has ${bytes}.`;
        else kind = `${told(value)} · ${bytes} ${bytes === 1 ? "byte" : "bytes"}`;
        button.hidden = JSON.stringify(value, null, 2) === area.value.trim();
      } catch (failure) {
        error = wrong(area.value, failure);
        button.hidden = true;
      }
    } else {
      button.hidden = true;
      if (!place.hidden) return; // What the server said of a value that is missing.
    }
    output.textContent = kind;
    place.textContent = error;
    place.hidden = !error;
    if (error) area.setAttribute("aria-invalid", "true");
    else area.removeAttribute("aria-invalid");
  }

  #tidy() {
    const area = this.querySelector("textarea");
    area.value = JSON.stringify(JSON.parse(area.value), null, 2);
    this.#judge();
    area.focus();
  }
});
