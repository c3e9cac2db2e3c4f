/** The storeys of src/, from the ground up. A folder may import its own storey and those below it. */
const storeys = [
  ["device"],
  ["tensor"],
  ["ops"],
  ["nn"],
  ["formats", "text", "cache", "models"],
  ["generate"],
  ["train"],
  ["mri", "rl"],
  ["cli", "serve", "web"],
];

const upward = storeys.slice(0, -1).map((storey, floor) => ({
  name: `no-upward-import-from-${storey.join("-")}`,
  comment: "A storey never imports from one above it (docs/architecture.md).",
  severity: "error",
  from: { path: `^src/(${storey.join("|")})/` },
  to: { path: `^src/(${storeys.slice(floor + 1).flat().join("|")})/` },
}));

module.exports = {
  forbidden: [
    ...upward,
    {
      name: "no-circular",
      severity: "error",
      comment: "Type-only cycles are allowed: the device contract names both backends.",
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only"] } },
    },
    {
      name: "node-only-at-the-edge",
      comment: "The same code runs in the page: Node modules only in device/, cli/, serve/ and the file adapters.",
      severity: "error",
      from: { path: "^src/", pathNot: "^src/(device|cli|serve)/|/node/|\\.test\\.ts$" },
      to: { dependencyTypes: ["core"] },
    },
    {
      name: "page-uses-the-public-api",
      severity: "error",
      from: { path: "^src/web/" },
      to: { path: "^src/(cli|serve)/" },
    },
  ],
  options: {
    tsConfig: { fileName: "tsconfig.json" },
    tsPreCompilationDeps: true,
    exclude: "\\.as\\.ts$|\\.test\\.ts$",
    doNotFollow: { path: "node_modules" },
  },
};
