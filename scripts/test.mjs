/** `npm test`: sets up what is missing, builds, and runs the whole suite. Arguments go to vitest. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { checkNode, ensureBuild, ensureDependencies, ensureTestPackages, root } from "./prepare.mjs";

checkNode();
ensureDependencies();
ensureTestPackages();
ensureBuild();
const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
const { status } = spawnSync(process.execPath, [vitest, "run", ...process.argv.slice(2)], {
  cwd: root,
  stdio: "inherit",
});
process.exit(status ?? 1);
