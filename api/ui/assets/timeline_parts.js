// The parts of a timeline beside what is drawn, and how a state is shown in text.

import { KINDS } from "./timeline_model.js";

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export const escaped = (text) => String(text).replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);

function icon(name) {
  const any = document.querySelector("svg.icon use").getAttribute("href");
  return `<svg class="icon" aria-hidden="true"><use href="${any.replace(/#.*/, `#${name}`)}"></use></svg>`;
}

export function badge(type, label) {
  const kind = KINDS[type] ?? "NONE";
  return `<span class="state" data-state="${kind}">${icon(`state-${kind}`)}<span>${escaped(label || "No state")}</span></span>`;
}

/** The elements within a timeline; each is known to it by its name. */
export function build(timeline) {
  const button = (text, label, act) => {
    const made = make("button", { type: "button", className: "button plain icon-only", textContent: text, title: label });
    made.setAttribute("aria-label", label);
    made.addEventListener("click", act);
    return made;
  };
  timeline.count = make("span", { className: "quiet", textContent: "reading…" });
  timeline.canvas = make("canvas", { tabIndex: 0, className: "stage" });
  timeline.canvas.setAttribute("role", "application");
  timeline.canvas.setAttribute("aria-roledescription", "timeline");
  timeline.canvas.setAttribute("aria-label", "Timeline of the task runs. Arrow keys go from bar to bar, Enter opens one; the tab Task runs has them as a list.");
  timeline.strip = make("canvas", { className: "overview" });
  timeline.strip.setAttribute("aria-hidden", "true");
  timeline.window_ = make("div", { className: "window", hidden: true });
  timeline.tip = make("div", { className: "tip", hidden: true });
  timeline.said = make("div", { className: "chosen", hidden: true });
  timeline.spoken = make("div", { className: "visually-hidden" });
  timeline.spoken.setAttribute("aria-live", "polite");
  timeline.slider = make("input", { type: "range", min: 0, max: 1, value: 1, step: 1 });
  timeline.slider.setAttribute("aria-label", "History: the run as it was at a position of the log");
  timeline.then = make("output", { className: "then" });
  timeline.back = make("button", { type: "button", className: "button", textContent: "Back to now", hidden: true });
  timeline.scrubber = make("div", { className: "scrubber" }, make("span", { className: "quiet", textContent: "History" }), timeline.slider, timeline.then, timeline.back);
  timeline.replaceChildren(
    make("div", { className: "head" },
      make("h2", { textContent: "Timeline" }), timeline.count,
      make("span", { className: "faint hint", textContent: "Ctrl + wheel zooms, drag moves" }),
      make("span", { className: "buttons" }, button("−", "Zoom out", () => timeline.zoom(1 / 1.5)), button("+", "Zoom in", () => timeline.zoom(1.5)),
        Object.assign(button("Fit", "Fit: show all of it", () => timeline.fit()), { className: "button plain" }))),
    make("div", { className: "above" }, timeline.strip, timeline.window_),
    make("div", { className: "below" }, timeline.canvas, timeline.tip),
    timeline.said, timeline.spoken, timeline.scrubber);
}
