/** Charts as SVG text: lines over linear axes. */
import { at, colours, picture, text } from "./svg.js";

export interface LineSeries {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface LinearChart {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly series: readonly LineSeries[];
}

/** Round numbers that span the values: about five steps of 1, 2 or 5 times a power of ten. */
export function roundTicks(least: number, most: number): number[] {
  const span = most > least ? most - least : Math.abs(most) || 1;
  const raw = span / 5;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= raw) ?? 10);
  const first = Math.floor(least / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil(most / step - 1e-9));
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

const tickText = (value: number): string => {
  const size = Math.abs(value);
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`;
  if (size > 0 && size < 1e-3) return value.toExponential();
  return String(Number(value.toPrecision(4)));
};

/** Lines over linear axes. There must be a point. */
export function linearChart({ title, x, y, series }: LinearChart): string {
  const [width, height, left, right, top, bottom] = [760, 320, 76, 130, 64, 272];
  const all = series.flatMap(({ points }) => points);
  const extent = (axis: 0 | 1) => {
    let [least, most] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    for (const point of all) {
      least = Math.min(least, point[axis]);
      most = Math.max(most, point[axis]);
    }
    return roundTicks(least, most);
  };
  const [xs, ys] = [extent(0), extent(1)];
  const scale = (ticks: readonly number[], from: number, to: number) => (value: number) => {
    const [first = 0, last = 1] = [ticks[0], ticks.at(-1)];
    return from + ((to - from) * (value - first)) / (last - first);
  };
  const toX = scale(xs, left, width - right);
  const toY = scale(ys, bottom, top);
  const parts = [
    text(16, 48, y, { kind: "small" }),
    text((left + width - right) / 2, height - 10, x, { anchor: "middle", kind: "small" }),
  ];
  for (const tick of ys) {
    const level = at(toY(tick));
    parts.push(`<line class="grid" x1="${left}" x2="${width - right}" y1="${level}" y2="${level}"/>`);
    parts.push(text(left - 8, toY(tick) + 4, tickText(tick), { anchor: "end", kind: "small" }));
  }
  for (const tick of xs) {
    const place = at(toX(tick));
    parts.push(`<line class="grid" x1="${place}" x2="${place}" y1="${top}" y2="${bottom}"/>`);
    parts.push(text(toX(tick), bottom + 18, tickText(tick), { anchor: "middle", kind: "small" }));
  }
  for (const [i, { name, points }] of series.entries()) {
    const colour = colours[i % colours.length];
    const places = points.map(([px, py]) => `${at(toX(px))},${at(toY(py))}`).join(" ");
    parts.push(`<polyline points="${places}" fill="none" stroke="${colour}" stroke-width="2"/>`);
    if (points.length <= 20) {
      for (const [px, py] of points)
        parts.push(`<circle cx="${at(toX(px))}" cy="${at(toY(py))}" r="3" fill="${colour}"/>`);
    }
    const key = top + 12 + 24 * i;
    parts.push(`<rect x="${width - right + 20}" y="${key - 9}" width="12" height="12" rx="2" fill="${colour}"/>`);
    parts.push(text(width - right + 38, key + 2, name));
  }
  return picture(width, height, title, parts);
}
