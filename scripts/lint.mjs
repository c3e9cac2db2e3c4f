/** `npm run lint`: formatting and lint rules, types, layers. Fails on the first that fails. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { must, root, say } from "./prepare.mjs";

const bin = (path) => join(root, "node_modules", path);
must(
  process.execPath,
  [bin("@biomejs/biome/bin/biome"), "check", "--error-on-warnings", "."],
  "`npm run format` repairs most.",
);
must(process.execPath, [bin("typescript/bin/tsc"), "--noEmit", "-p", "tsconfig.check.json"]);
if (existsSync(join(root, "src", "web", "tsconfig.json"))) {
  must(process.execPath, [bin("typescript/bin/tsc"), "--noEmit", "-p", "src/web/tsconfig.json"]);
}
must(process.execPath, [
  bin("dependency-cruiser/bin/dependency-cruise.mjs"),
  "--config",
  ".dependency-cruiser.cjs",
  "src",
]);
say("lint, types and layers: fine");
