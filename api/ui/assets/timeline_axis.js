// Where the marks of a time axis stand, and what they say.

import { writer } from "./times.js";

const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const STEPS = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, SECOND, 2 * SECOND, 5 * SECOND, 10 * SECOND, 15 * SECOND, 30 * SECOND,
  MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR,
  DAY, 2 * DAY, 7 * DAY, 14 * DAY, 28 * DAY,
];
const TICK_PIXELS_MIN = 92;

const day = writer({ month: "short", day: "numeric" });
const two = (number) => String(number).padStart(2, "0");

/** Marks between two moments: [{at, text, major}]. */
export function ticks(from, until, width) {
  const least = ((until - from) * TICK_PIXELS_MIN) / width;
  const step = STEPS.find((step) => step >= least) ?? STEPS.at(-1);
  // Counted from midnight here, not in Greenwich.
  const offset = new Date(from).getTimezoneOffset() * MINUTE;
  const found = [];
  for (let at = Math.ceil((from - offset) / step) * step + offset; at <= until; at += step) {
    const moment = new Date(at);
    const midnight = moment.getHours() === 0 && moment.getMinutes() === 0 && moment.getSeconds() === 0 && moment.getMilliseconds() === 0;
    found.push({ at, text: text(moment, step, midnight), major: midnight });
  }
  return found;
}

function text(moment, step, midnight) {
  if (step >= DAY || midnight) return day.format(moment);
  const clock = `${two(moment.getHours())}:${two(moment.getMinutes())}`;
  if (step >= MINUTE) return clock;
  const seconds = `${clock}:${two(moment.getSeconds())}`;
  if (step >= SECOND) return seconds;
  const digits = step >= 100 ? 1 : step >= 10 ? 2 : 3;
  return seconds + (moment.getMilliseconds() / SECOND).toFixed(digits).slice(1);
}
