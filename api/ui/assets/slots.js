// <decaying-slots>: slots of a rate come free by time alone, so they are counted here while one looks.

const TICK_MILLISECONDS = 500;

customElements.define("decaying-slots", class extends HTMLElement {
  #timer = 0;

  connectedCallback() { this.#timer = setInterval(() => { if (!document.hidden) this.#tell(); }, TICK_MILLISECONDS); }

  disconnectedCallback() { clearInterval(this.#timer); }

  #tell() {
    const { held, taken, at, decay } = this.dataset;
    if (!decay) return;
    const seconds = Math.max(0, (Date.now() - Date.parse(at)) / 1000);
    const active = Number(held) + Math.ceil(Math.max(0, Number(taken) - Number(decay) * seconds));
    const told = this.querySelector("[data-active]"), bar = this.querySelector("progress");
    if (told.textContent.replace(/\D/g, "") !== String(active)) told.textContent = String(active);
    bar.value = Math.min(active, bar.max);
  }
});
