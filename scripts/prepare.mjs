/**
 * What `npm start` and `npm test` share: dependencies, the build, and Debian's packages for the tests. Each step is skipped
 * when its result is there already. Talk goes to stderr, so that a command's standard output stays its own.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

export function say(text) {
  process.stderr.write(`${text}\n`);
}

/** Runs a command with its output on stderr; ends the process with a sentence when it fails. */
export function must(command, args, advice = "") {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ["ignore", 2, 2] });
  if (error || status !== 0) {
    say(`\n${command} ${args.join(" ")} failed${error ? `: ${error.message}` : ""}. ${advice}`);
    process.exit(1);
  }
}

export function checkNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    say(`Fulgur needs Node 20.19 or newer; this is ${process.versions.node}.`);
    process.exit(1);
  }
}

/** Installs the dependencies unless node_modules matches the lock file. */
export function ensureDependencies() {
  const lock = join(root, "package-lock.json");
  const installed = join(root, "node_modules", ".package-lock.json");
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(lock).mtimeMs) return;
  if (existsSync(installed)) {
    // A fresh checkout touches the lock file without changing it: compare the versions before installing again.
    const wanted = JSON.parse(readFileSync(lock, "utf8")).packages;
    const have = JSON.parse(readFileSync(installed, "utf8")).packages;
    const differs = Object.entries(wanted).some(
      ([path, entry]) => path !== "" && !entry.optional && have[path]?.version !== entry.version,
    );
    if (!differs) return;
  }
  say("Installing dependencies (npm ci) …");
  must("npm", ["ci", "--ignore-scripts", "--loglevel=error"], "Is the npm registry reachable?");
}

function newestUnder(path) {
  if (!existsSync(path)) return 0;
  const entry = statSync(path);
  if (!entry.isDirectory()) return entry.mtimeMs;
  return Math.max(entry.mtimeMs, ...readdirSync(path).map((name) => newestUnder(join(path, name))));
}

/** Builds when a source is newer than the last build. */
export function ensureBuild() {
  const stamp = join(root, "dist", ".built");
  const built = existsSync(stamp) ? statSync(stamp).mtimeMs : 0;
  const sources = ["src", "scripts", "package-lock.json", "tsconfig.json"].map((name) => newestUnder(join(root, name)));
  if (built >= Math.max(...sources)) return;
  say("Building …");
  must(process.execPath, [join(root, "scripts", "build.mjs")]);
}

const debianPackages = { chromium: "/usr/bin/chromium", libvulkan1: "/usr/lib/x86_64-linux-gnu/libvulkan.so.1" };

/** Installs what the WebGPU and page tests need. What cannot be installed is named, and its tests are skipped by name. */
export function ensureTestPackages() {
  const missing = Object.entries(debianPackages).filter(([, file]) => !existsSync(file) && !hasLibrary(file));
  if (missing.length === 0) return;
  const names = missing.map(([name]) => name);
  const canInstall = process.getuid?.() === 0 && existsSync("/usr/bin/apt-get");
  if (canInstall) {
    say(`Installing ${names.join(", ")} for the tests …`);
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    const run = (args) => spawnSync("apt-get", args, { stdio: ["ignore", "ignore", 2], env }).status === 0;
    if (run(["update", "-q"]) && run(["install", "-y", "-q", "--no-install-recommends", ...names])) return;
  }
  say(`Not installed: ${names.join(", ")}. The tests that need them (WebGPU, the page) will be skipped by name.`);
}

function hasLibrary(file) {
  try {
    const name = file.split("/").at(-1);
    return file.endsWith(".so.1") && execFileSync("ldconfig", ["-p"], { encoding: "utf8" }).includes(name);
  } catch {
    return false;
  }
}
