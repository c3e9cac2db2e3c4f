/**
 * A training as a page: curves of loss, rate, norm and speed as SVG inside one HTML file that needs nothing else.
 */
import { linearChart } from "./svg-chart.js";

/** A line of the metrics: numbers by name. */
export type ReportMetric = Readonly<Record<string, number | boolean | string>> & { readonly step: number };

/** Points of a curve at most: more than a picture has columns are averaged. */
const POINTS = 400;

/** @param source where the numbers are, named on the page. */
export function trainingReport(title: string, metrics: readonly ReportMetric[], source: string): string {
  const curve = (name: string) =>
    thinned(
      metrics.flatMap((metric): [number, number][] => {
        const value = metric[name];
        return typeof value === "number" && Number.isFinite(value) ? [[metric.step, value]] : [];
      }),
    );
  const speed = thinned(
    metrics.flatMap(({ step, tokens, seconds }): [number, number][] =>
      typeof tokens === "number" && typeof seconds === "number" && seconds > 0 ? [[step, tokens / seconds]] : [],
    ),
  );
  const charts = [
    {
      title: "Loss",
      y: "nats a token",
      series: [
        { name: "training", points: curve("loss") },
        { name: "validation", points: curve("validationLoss") },
      ],
    },
    { title: "Learning rate", y: "", series: [{ name: "rate", points: curve("rate") }] },
    { title: "Norm of the gradient", y: "before clipping", series: [{ name: "norm", points: curve("gradientNorm") }] },
    { title: "Speed", y: "tokens/s", series: [{ name: "tokens/s", points: speed }] },
  ].flatMap(({ series, ...chart }) => {
    const drawn = series.filter(({ points }) => points.length > 0);
    return drawn.length === 0 ? [] : [linearChart({ ...chart, x: "step", series: drawn })];
  });
  const last = (name: string) => {
    const value = metrics.filter((metric) => typeof metric[name] === "number").at(-1)?.[name];
    return typeof value === "number" ? value.toPrecision(5) : "–";
  };
  const rows = [
    ["steps", String(metrics.at(-1)?.step ?? 0)],
    ["training loss", last("loss")],
    ["validation loss", last("validationLoss")],
    ["tokens", String(metrics.reduce((sum, { tokens }) => sum + (typeof tokens === "number" ? tokens : 0), 0))],
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escapeHtml(title)}</title>
<style>
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 800px; margin: 2rem auto; padding: 0 1rem }
svg { display: block; max-width: 100%; height: auto; margin: 1rem 0 }
td { padding: 0 1.5rem 0 0 }
</style>
</head>
<body>
<h1>${escapeHtml(title)}</h1>
<table>${rows.map(([name, value]) => `<tr><td>${name}</td><td>${value}</td></tr>`).join("")}</table>
${charts.join("\n")}
<p>Drawn from ${escapeHtml(source)}.</p>
</body>
</html>
`;
}

function thinned(points: readonly [number, number][]): [number, number][] {
  const size = Math.max(1, Math.ceil(points.length / POINTS));
  return Array.from({ length: Math.ceil(points.length / size) }, (_, i) => {
    const some = points.slice(i * size, (i + 1) * size);
    const mean = (at: 0 | 1) => some.reduce((sum, point) => sum + point[at], 0) / some.length;
    return [mean(0), mean(1)];
  });
}

function escapeHtml(text: string): string {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");
}
