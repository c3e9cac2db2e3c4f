/**
 * Compiles every `src/**\/*.as.ts` into the WebAssembly modules of the CPU device.
 *
 *   node scripts/build-kernels.mjs [--force] [--keep-going]
 *
 * Every function that such a file exports is a kernel, `(args: usize, begin: i32, end: i32, worker: i32): void`, and its
 * name is unique in the project. Files named `*.inline.as.ts` hold inlined helpers and are only imported by others.
 *
 * Two compilations, baseline and relaxed SIMD, give four modules: the unshared ones (`.single`) differ in one flag of the
 * memory import, because kernels hold no atomics, and are made from the shared ones by changing it.
 *
 * --keep-going leaves out the files that do not compile and says so: for work on one kernel while another is in pieces.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const cache = path.join(root, ".cache", "kernels");
const out = path.join(root, "dist", "wasm");
const require = createRequire(import.meta.url);
const asc = path.join(path.dirname(require.resolve("assemblyscript/package.json")), "bin", "asc.js");
const ascVersion = require("assemblyscript/package.json").version;

const flags = [
  ...["-O3", "--noAssert", "--runtime", "stub", "--enable", "simd", "--enable", "threads", "--importMemory"],
  ...["--sharedMemory", "--initialMemory", "16", "--maximumMemory", "65536", "--memoryBase", "4096"],
];
const builds = [
  { name: "kernels", flags: [] },
  { name: "kernels.relaxed", flags: ["--enable", "relaxed-simd"] },
];

/** A failure that is the kernels' fault: printed without a stack. */
class BuildError extends Error {}

async function kernelFiles() {
  const names = await readdir(path.join(root, "src"), { recursive: true });
  return names
    .filter((name) => name.endsWith(".as.ts"))
    .map((name) => `src/${name.split(path.sep).join("/")}`)
    .sort();
}

async function hashOf(files) {
  const hash = createHash("sha256").update(ascVersion);
  for (const file of [fileURLToPath(import.meta.url), ...files.map((name) => path.join(root, name))]) {
    hash.update(`\0${path.relative(root, file)}\0`).update(await readFile(file));
  }
  return hash.digest("hex");
}

/** asc reports duplicates among `export *` vaguely; name both files instead. */
async function checkNames(files) {
  const owners = new Map();
  const clashes = [];
  for (const file of files) {
    const text = await readFile(path.join(root, file), "utf8");
    for (const [, name] of text.matchAll(/^export function (\w+)/gm)) {
      if (owners.has(name)) clashes.push(`${name} in ${owners.get(name)} and ${file}`);
      owners.set(name, file);
    }
  }
  if (clashes.length > 0) throw new BuildError(`kernel names must be unique:\n  ${clashes.join("\n  ")}`);
}

/** Runs asc; resolves with what it printed if it failed. */
function compile(entry, target, extra) {
  const relative = (file) => path.relative(root, file).split(path.sep).join("/");
  const args = [asc, relative(entry), "--outFile", relative(target), ...flags, ...extra];
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let text = "";
    child.stdout.on("data", (data) => (text += data));
    child.stderr.on("data", (data) => (text += data));
    child.once("error", reject);
    child.once("exit", (code) => resolve(code === 0 ? undefined : text || `asc ended with ${code}`));
  });
}

/** Walks the sections of a module: [id, offset of the contents, offset behind them]. */
function* sections(bytes) {
  let at = 8;
  while (at < bytes.length) {
    const id = bytes[at];
    const [length, begin] = leb(bytes, at + 1);
    yield [id, begin, begin + length];
    at = begin + length;
  }
}

function leb(bytes, at) {
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++];
    value += (byte & 127) * 2 ** shift;
    if (byte < 128) return [value, at];
  }
}

/**
 * Checks that the module imports env.memory alone and has no data (each worker would write it again over live memory).
 * Returns the offset of the memory's flags.
 */
function checkModule(bytes, name) {
  let flagsAt;
  for (const [id, begin] of sections(bytes)) {
    if (id === 11 || id === 12) {
      throw new BuildError(
        `${name}: the kernels have static data (a string, a StaticArray, a throw?); workers cannot share it`,
      );
    }
    if (id !== 2) continue;
    const [count, first] = leb(bytes, begin);
    const [moduleLength, moduleAt] = leb(bytes, first);
    const [fieldLength, fieldAt] = leb(bytes, moduleAt + moduleLength);
    const text = (at, length) => Buffer.from(bytes.subarray(at, at + length)).toString();
    const imported = `${text(moduleAt, moduleLength)}.${text(fieldAt, fieldLength)}`;
    if (count === 1 && imported === "env.memory" && bytes[fieldAt + fieldLength] === 2)
      flagsAt = fieldAt + fieldLength + 1;
  }
  if (flagsAt === undefined || bytes[flagsAt] !== 3) {
    const found = WebAssembly.validate(bytes) ? WebAssembly.Module.imports(new WebAssembly.Module(bytes)) : [];
    const names = found.map((one) => `${one.module}.${one.name}`).join(", ");
    throw new BuildError(`${name}: kernels may import the shared env.memory only, found: ${names || "no memory"}`);
  }
  return flagsAt;
}

/** Every exported function must have the kernels' four parameters and no result. */
function checkKernels(bytes) {
  const memory = new WebAssembly.Memory({ initial: 16, maximum: 65536 });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } });
  const functions = Object.entries(exports).filter(([, value]) => typeof value === "function");
  const wrong = functions.filter(([, value]) => value.length !== 4).map(([name]) => name);
  if (wrong.length > 0) {
    throw new BuildError(
      `not kernels, which take (args, begin, end, worker): ${wrong.join(", ")}. Helpers are not exported, or stand in *.inline.as.ts`,
    );
  }
  return functions.length;
}

async function replaceFile(target, bytes) {
  const temporary = `${target}.${process.pid}`;
  await writeFile(temporary, bytes);
  await rename(temporary, target); // whoever loads kernels meanwhile sees the old file or the new one, never half of one
}

async function buildAll(files, keepGoing) {
  const entry = path.join(cache, `entry-${process.pid}.ts`);
  const targets = builds.map((build) => path.join(cache, `${build.name}-${process.pid}.wasm`));
  let kernels = files.filter((file) => !file.endsWith(".inline.as.ts"));
  const leftOut = [];
  try {
    for (;;) {
      await checkNames(kernels);
      const lines = kernels.map((file) => `export * from "../../${file.slice(0, -".ts".length)}";\n`);
      await writeFile(entry, lines.join("") || "export {};\n");
      const failures = await Promise.all(builds.map((build, index) => compile(entry, targets[index], build.flags)));
      const failure = failures.find((text) => text !== undefined);
      if (failure === undefined) break;
      const blamed = new Set([...failure.matchAll(/\bin (src\/\S+?\.as\.ts)\(/g)].map(([, file]) => file));
      const remaining = kernels.filter((file) => !blamed.has(file));
      if (!keepGoing || remaining.length === kernels.length) throw new BuildError(failure.trimEnd());
      leftOut.push(...kernels.filter((file) => blamed.has(file)));
      process.stderr.write(`${failure.trimEnd()}\n`);
      kernels = remaining;
    }
    let count = 0;
    for (const [index, build] of builds.entries()) {
      const bytes = new Uint8Array(await readFile(targets[index]));
      const flagsAt = checkModule(bytes, build.name);
      const single = bytes.slice();
      single[flagsAt] = 1; // has a maximum, is not shared
      if (WebAssembly.validate(single)) count = checkKernels(single);
      await replaceFile(path.join(out, `${build.name}.wasm`), bytes);
      await replaceFile(path.join(out, `${build.name}.single.wasm`), single);
    }
    return { count, leftOut };
  } finally {
    await Promise.all([entry, ...targets].map((file) => rm(file, { force: true })));
  }
}

async function main() {
  const started = performance.now();
  const keepGoing = process.argv.includes("--keep-going");
  await mkdir(cache, { recursive: true });
  await mkdir(out, { recursive: true });
  const files = await kernelFiles();
  const hash = await hashOf(files);
  const stamp = path.join(cache, "built");
  const targets = builds.flatMap(({ name }) => [`${name}.wasm`, `${name}.single.wasm`]);
  const built = existsSync(stamp) ? await readFile(stamp, "utf8") : "";
  if (
    !process.argv.includes("--force") &&
    built === hash &&
    targets.every((name) => existsSync(path.join(out, name)))
  ) {
    process.stderr.write("kernels: unchanged\n");
    return;
  }
  const { count, leftOut } = await buildAll(files, keepGoing);
  await writeFile(stamp, leftOut.length > 0 ? "" : hash);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  process.stderr.write(`kernels: ${count} from ${files.length - leftOut.length} files in ${seconds} s\n`);
  if (leftOut.length > 0) process.stderr.write(`kernels: LEFT OUT ${leftOut.join(", ")}\n`);
}

try {
  await main();
} catch (error) {
  if (!(error instanceof BuildError)) throw error;
  process.stderr.write(`kernels: ${error.message}\n`);
  process.exitCode = 1;
}
