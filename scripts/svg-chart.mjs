/**
 * Charts as SVG text: lines over logarithmic axes, named points, and groups of horizontal bars. Readable on light and on dark
 * pages: the ground is transparent, text and grid follow the reader's colour scheme. What a training's report draws with
 * too comes from the built package.
 */

import { at, colours, picture, short, text } from "../dist/train/report/svg.js";

export { colours, short };

/** The powers of `base` around the values. */
function powers(values, base) {
  const log = (value) => Math.log(value) / Math.log(base) + 1e-9;
  const first = Math.floor(log(Math.min(...values)));
  const last = Math.max(first + 1, Math.ceil(log(Math.max(...values)) - 2e-9));
  return Array.from({ length: last - first + 1 }, (_, i) => base ** (first + i));
}

/**
 * Lines over logarithmic axes.
 *
 * @param {{ title: string, x: string, y: string, note?: string, xBase?: number,
 *   series: { name: string, points: [number, number][] }[] }} chart
 */
export function lineChart({ title, x, y, note, xBase = 10, series }) {
  const [width, height, left, right, top, bottom] = [760, 400, 76, 204, 64, 352];
  const xs = powers(
    series.flatMap(({ points }) => points.map(([px]) => px)),
    xBase,
  );
  const ys = powers(
    series.flatMap(({ points }) => points.map(([, py]) => py)),
    10,
  );
  const scale = (ticks, from, to) => (value) =>
    from + ((to - from) * Math.log(value / ticks[0])) / Math.log(ticks.at(-1) / ticks[0]);
  const toX = scale(xs, left, width - right);
  const toY = scale(ys, bottom, top);
  const parts = [
    text(16, 48, y, { kind: "small" }),
    text((left + width - right) / 2, 388, x, { anchor: "middle", kind: "small" }),
  ];
  for (const tick of ys) {
    parts.push(`<line class="grid" x1="${left}" x2="${width - right}" y1="${at(toY(tick))}" y2="${at(toY(tick))}"/>`);
    parts.push(text(left - 8, toY(tick) + 4, short(tick), { anchor: "end", kind: "small" }));
  }
  for (const tick of xs) {
    parts.push(`<line class="grid" x1="${at(toX(tick))}" x2="${at(toX(tick))}" y1="${top}" y2="${bottom}"/>`);
    parts.push(text(toX(tick), bottom + 18, short(tick), { anchor: "middle", kind: "small" }));
  }
  for (const [i, { name, points }] of series.entries()) {
    const colour = colours[i % colours.length];
    const places = points.map(([px, py]) => `${at(toX(px))},${at(toY(py))}`).join(" ");
    parts.push(`<polyline points="${places}" fill="none" stroke="${colour}" stroke-width="2.5"/>`);
    for (const [px, py] of points) {
      parts.push(`<circle cx="${at(toX(px))}" cy="${at(toY(py))}" r="4" fill="${colour}"/>`);
      parts.push(
        text(toX(px), toY(py) + (isUpper(series, i, px, py) ? -9 : 19), short(py), { anchor: "middle", kind: "small" }),
      );
    }
    const key = top + 12 + 24 * i;
    parts.push(`<rect x="${width - right + 20}" y="${key - 9}" width="12" height="12" rx="2" fill="${colour}"/>`);
    parts.push(text(width - right + 38, key + 2, name));
  }
  if (note) parts.push(text(width - 16, 388, note, { anchor: "end", kind: "small" }));
  return picture(width, height, title, parts);
}

/**
 * Named points: x linear, y logarithmic. Labels give way downwards where they would lie on each other.
 *
 * @param {{ title: string, x: string, y: string, note?: string,
 *   points: { name: string, x: number, y: number, colour?: number }[] }} chart
 */
export function pointChart({ title, x, y, note, points }) {
  const [width, height, left, right, top, bottom] = [760, 440, 76, 150, 64, 388];
  const least = Math.floor(Math.min(...points.map((point) => point.x)));
  const most = Math.ceil(Math.max(...points.map((point) => point.x)));
  const ys = powers(
    points.map((point) => point.y),
    10,
  );
  const toX = (value) => left + ((width - right - left) * (value - least)) / (most - least);
  const toY = (value) => bottom + ((top - bottom) * Math.log(value / ys[0])) / Math.log(ys.at(-1) / ys[0]);
  const parts = [
    text(16, 48, y, { kind: "small" }),
    text((left + width - right) / 2, height - 12, x, { anchor: "middle", kind: "small" }),
  ];
  for (const tick of ys) {
    parts.push(`<line class="grid" x1="${left}" x2="${width - right}" y1="${at(toY(tick))}" y2="${at(toY(tick))}"/>`);
    parts.push(text(left - 8, toY(tick) + 4, short(tick), { anchor: "end", kind: "small" }));
  }
  for (let tick = least; tick <= most; tick += Math.ceil((most - least) / 10)) {
    parts.push(`<line class="grid" x1="${at(toX(tick))}" x2="${at(toX(tick))}" y1="${top}" y2="${bottom}"/>`);
    parts.push(text(toX(tick), bottom + 18, tick, { anchor: "middle", kind: "small" }));
  }
  const taken = [];
  for (const point of [...points].sort((a, b) => b.y - a.y)) {
    const [px, py] = [toX(point.x), toY(point.y)];
    let labelY = py + 4;
    const isTaken = () =>
      taken.some(
        (other) => Math.abs(other.y - labelY) < 13 && Math.abs(other.x - px) < 7 * Math.max(point.name.length, 8),
      );
    while (isTaken()) labelY += 13;
    taken.push({ x: px, y: labelY });
    parts.push(
      `<circle cx="${at(px)}" cy="${at(py)}" r="4.5" fill="${colours[(point.colour ?? 0) % colours.length]}"/>`,
    );
    parts.push(text(px + 9, labelY, point.name, { kind: "small" }));
  }
  if (note) parts.push(text(width - 16, height - 12, note, { anchor: "end", kind: "small" }));
  return picture(width, height, title, parts);
}

/** Whether a point's label goes above it: below where another line passes higher at the same place. */
function isUpper(series, own, x, y) {
  const others = series.filter((_, i) => i !== own).flatMap(({ points }) => points.filter(([px]) => px === x));
  return !others.some(([, py]) => py > y);
}

/**
 * Groups of horizontal bars; each group has a scale of its own unless `most` is given.
 *
 * @param {{ title: string, note?: string, most?: number,
 *   groups: { name: string, bars: { name: string, value: number, label: string, colour?: number }[] }[] }} chart
 */
export function barChart({ title, note, most, groups }) {
  const [width, left, right] = [760, 270, 130];
  const parts = [];
  let y = 52;
  for (const { name, bars } of groups) {
    if (name) parts.push(text(16, y + 8, name, { kind: "small" }));
    if (name) y += 18;
    const full = most ?? Math.max(...bars.map(({ value }) => value));
    for (const { name: bar, value, label, colour = 0 } of bars) {
      const length = Math.max(1, ((width - left - right) * Math.min(value, full)) / full);
      parts.push(text(left - 8, y + 13, bar, { anchor: "end" }));
      parts.push(
        `<rect x="${left}" y="${y}" width="${at(length)}" height="17" rx="2" fill="${colours[colour % colours.length]}"/>`,
      );
      parts.push(text(left + length + 8, y + 13, label));
      y += 23;
    }
    y += 10;
  }
  if (most !== undefined) {
    parts.unshift(`<line class="grid" x1="${width - right}" x2="${width - right}" y1="44" y2="${y - 6}"/>`);
  }
  if (note) parts.push(text(16, y + 10, note, { kind: "small" }));
  return picture(width, y + 26, title, parts);
}
