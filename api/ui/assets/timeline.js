customElements.define("run-timeline", class extends HTMLElement {
  receive() {}
});
