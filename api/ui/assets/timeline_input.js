// Moving about on a timeline: by pointer, wheel, fingers and keys.

import { AXIS } from "./timeline_paint.js";

const DRAG_PIXELS = 4, WHEEL_ZOOM = 0.0022, KEY_ZOOM = 1.5, KEY_PAN = 0.15, LINE_PIXELS = 16;

/** Let a canvas be moved about on; `timeline` is the element around it. */
export function listen(timeline, canvas) {
  const fingers = new Map();
  let dragged = false, spread = 0;

  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    fingers.set(event.pointerId, at(event));
    dragged = false;
    spread = 0;
  });

  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = at(event);
    const before = fingers.get(event.pointerId);
    if (!before) { timeline.hover(x, y); return; }
    if (fingers.size === 2) {
      fingers.set(event.pointerId, [x, y]);
      const [one, other] = [...fingers.values()];
      const wide = Math.hypot(one[0] - other[0], one[1] - other[1]);
      if (spread) timeline.zoom(wide / spread, (one[0] + other[0]) / 2);
      spread = wide;
      dragged = true;
      return;
    }
    if (!dragged && Math.hypot(x - before[0], y - before[1]) < DRAG_PIXELS) return;
    if (!dragged) { canvas.setPointerCapture(event.pointerId); canvas.dataset.drags = ""; timeline.hover(null); }
    dragged = true;
    timeline.pan(before[0] - x);
    if (event.pointerType === "mouse") timeline.scrollRows(before[1] - y);
    fingers.set(event.pointerId, [x, y]);
  });

  const up = (event) => {
    if (!fingers.delete(event.pointerId)) return;
    delete canvas.dataset.drags;
    if (event.type === "pointerup" && !dragged) timeline.press(...at(event));
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("pointerleave", () => { if (!fingers.size) timeline.hover(null); });
  canvas.addEventListener("dblclick", (event) => timeline.press(...at(event), true));

  canvas.addEventListener("wheel", (event) => {
    const unit = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? LINE_PIXELS : 1;
    const [x, y] = at(event);
    // A pinch on a touchpad comes as a wheel with ctrl.
    if (event.ctrlKey || event.metaKey || y < AXIS) {
      timeline.zoom(Math.exp(-event.deltaY * unit * WHEEL_ZOOM * (event.ctrlKey && !unit ? 4 : 1)), x);
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      timeline.pan((event.deltaX || event.deltaY) * unit);
    } else if (!timeline.scrollRows(event.deltaY * unit)) {
      return; // The page scrolls.
    }
    event.preventDefault();
  }, { passive: false });

  const keys = {
    "+": () => timeline.zoom(KEY_ZOOM), "=": () => timeline.zoom(KEY_ZOOM), "-": () => timeline.zoom(1 / KEY_ZOOM),
    "0": () => timeline.fit(),
    Enter: () => timeline.follow(), " ": () => timeline.unfold(), Escape: () => timeline.choose(null),
    Home: () => timeline.step("first"), End: () => timeline.step("last"),
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    let done;
    if (arrow && event.shiftKey) {
      done = arrow[0] ? timeline.pan(arrow[0] * KEY_PAN * canvas.clientWidth) : timeline.scrollRows(arrow[1] * 60);
    } else if (arrow) {
      done = timeline.step(...arrow);
    } else if (keys[event.key]) {
      done = keys[event.key]();
    } else {
      return;
    }
    if (done === false) return;
    event.preventDefault();
    event.stopPropagation();
  });
}
