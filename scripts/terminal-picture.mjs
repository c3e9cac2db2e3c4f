/**
 * Draws a terminal session as SVG from its text: `node scripts/terminal-picture.mjs < session.txt > docs/images/terminal.svg`.
 * Lines that begin with "$ " are input, those that begin with "~ " are dimmed (thinking, statistics).
 */
import { readFileSync } from "node:fs";

const lines = readFileSync(0, "utf8").trimEnd().split("\n");
const width = 860;
const lineHeight = 20;
const height = lines.length * lineHeight + 64;
const escapeXml = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const rows = lines.map((line, i) => {
  const dim = line.startsWith("~ ");
  const input = line.startsWith("$ ") || line.startsWith("› ");
  const fill = dim ? "#8b949e" : input ? "#ffd866" : "#e6edf3";
  return `<text x="20" y="${58 + i * lineHeight}" fill="${fill}" xml:space="preserve">${escapeXml(dim ? line.slice(2) : line)}</text>`;
});
process.stdout.write(`<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="A terminal session with fulgur">
<rect width="${width}" height="${height}" rx="10" fill="#0d1117"/>
<circle cx="24" cy="20" r="6" fill="#ff5f57"/><circle cx="44" cy="20" r="6" fill="#febc2e"/><circle cx="64" cy="20" r="6" fill="#28c840"/>
<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="14">
${rows.join("\n")}
</g>
</svg>
`);
