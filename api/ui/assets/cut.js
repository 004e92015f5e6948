// Text that is cut off because its place is narrow is told whole on hover, unless something else is.

const LEVELS = 4; // Of elements around what is pointed at.

function cutOff(element) {
  return element.scrollWidth > element.clientWidth && getComputedStyle(element).textOverflow === "ellipsis";
}

document.addEventListener("pointerover", (event) => {
  let element = event.target;
  for (let level = 0; level < LEVELS && element instanceof HTMLElement; level++) {
    if (element.title && !("cut" in element.dataset)) return;
    if (cutOff(element)) {
      element.title = element.textContent.replace(/\s+/g, " ").trim();
      element.dataset.cut = "";
      return;
    }
    element = element.parentElement;
  }
});
