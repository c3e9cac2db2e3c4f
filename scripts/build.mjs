/** Builds dist/: kernels (AssemblyScript to Wasm), the library (tsc) and the page (Vite). `--only kernels|library|page`. */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { must, root } from "./prepare.mjs";

const only = process.argv.includes("--only") ? process.argv[process.argv.indexOf("--only") + 1] : undefined;
const wanted = (part) => only === undefined || only === part;

mkdirSync(join(root, "dist"), { recursive: true });
if (wanted("kernels")) must(process.execPath, [join(root, "scripts", "build-kernels.mjs")]);
if (wanted("library"))
  must(process.execPath, [join(root, "node_modules", "typescript", "bin", "tsc"), "-p", "tsconfig.json"]);
if (wanted("page") && existsSync(join(root, "src", "web", "vite.config.ts"))) {
  must(process.execPath, [
    join(root, "node_modules", "vite", "bin", "vite.js"),
    "build",
    "--config",
    "src/web/vite.config.ts",
    "--logLevel",
    "warn",
  ]);
}
if (only === undefined) writeFileSync(join(root, "dist", ".built"), "");
