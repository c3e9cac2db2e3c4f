/**
 * The parts of charts as SVG text. Readable on light and on dark pages: the ground is transparent, text and grid follow the
 * reader's colour scheme.
 */

export const colours = ["#2f81f7", "#db6d28", "#2da44e", "#a371f7", "#d4a72c", "#e85aad"] as const;

const style = `<style>
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #424a53 }
.title { font-size: 15px; font-weight: 600; fill: #1f2328 }
.small { font-size: 12px; fill: #59636e }
.grid { stroke: #8c959f; stroke-opacity: .3 }
@media (prefers-color-scheme: dark) { text { fill: #c9d1d9 } .title { fill: #f0f6fc } .small { fill: #9198a1 } }
</style>`;

const escapeXml = (text: string) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

/** A coordinate, to a tenth. */
export const at = (value: number): number => Number(value.toFixed(1));

export function text(
  x: number,
  y: number,
  content: string | number,
  { anchor = "start", kind = "" }: { readonly anchor?: string; readonly kind?: string } = {},
): string {
  return `<text x="${at(x)}" y="${at(y)}" text-anchor="${anchor}"${kind ? ` class="${kind}"` : ""}>${escapeXml(String(content))}</text>`;
}

export function picture(width: number, height: number, title: string, parts: readonly string[]): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${at(height)}" viewBox="0 0 ${width} ${at(height)}" role="img" aria-label="${escapeXml(title)}">
${style}
${text(16, 26, title, { kind: "title" })}
${parts.join("\n")}
</svg>
`;
}

/** 1,797 or 0.25, with k and M from ten thousand on. */
export function short(value: number): string {
  if (value >= 1e6) return `${Number((value / 1e6).toPrecision(2))}M`;
  if (value >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`;
  if (value >= 100) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(2)));
}
