/**
 * Builds the page into dist/web. It starts from the compiled library in dist/, because the engine's own workers and Wasm files
 * are found there by their compiled names (`worker-web.js`, `../../wasm/kernels.wasm`).
 */
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** Modules of the library that it imports only in Node: the page gets a stand-in that says so. */
const nodeOnly = [/[\\/]formats[\\/]node[\\/]index\.js$/, /[\\/]threads-node\.js$/];

const withoutNode = (): Plugin => ({
  name: "without-node",
  enforce: "pre",
  resolveId(id, importer) {
    if (!importer || !id.startsWith(".")) return null;
    const path = resolve(dirname(importer), id);
    return nodeOnly.some((pattern) => pattern.test(path)) ? here("./node-only.ts") : null;
  },
});

export default defineConfig({
  root: here("."),
  // Relative, so that the page may live in any folder of a server.
  base: "./",
  plugins: [withoutNode()],
  worker: { format: "es", plugins: () => [withoutNode()] },
  resolve: { alias: [{ find: /^fulgur$/, replacement: here("../../dist/index.js") }] },
  build: {
    outDir: here("../../dist/web"),
    emptyOutDir: true,
    target: "es2022",
    // Wasm and icons stay files: the engine fetches its kernels by address.
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 1024,
  },
});
