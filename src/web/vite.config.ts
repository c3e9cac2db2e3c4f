/**
 * Builds the page into dist/web. It starts from the compiled library in dist/, because the engine's own workers and Wasm files
 * are found there by their compiled names (`worker-web.js`, `../../wasm/kernels.wasm`).
 */
import { defineConfig, type Plugin } from "vite";

const here = import.meta.dirname;

/** Modules of the library that it imports only in Node: the page gets a stand-in that says so. */
const nodeOnly = /\/(formats\/node\/index|threads-node)\.js$/;

/** package.json says that importing a module does nothing by itself; this one does. */
const effectful = /\/dispose-symbols\.ts$/;

const forThePage = (): Plugin => ({
  name: "for-the-page",
  enforce: "pre",
  async resolveId(id, importer, options) {
    if (!id.startsWith(".")) return null;
    const found = await this.resolve(id, importer, { ...options, skipSelf: true });
    if (found && nodeOnly.test(found.id)) return `${here}/node-only.ts`;
    return found && effectful.test(found.id) ? { ...found, moduleSideEffects: true } : found;
  },
});

export default defineConfig({
  root: here,
  // Relative, so that the page may live in any folder of a server.
  base: "./",
  plugins: [forThePage()],
  worker: { format: "es", plugins: () => [forThePage()] },
  resolve: {
    alias: [
      { find: /^fulgur$/, replacement: `${here}/../../dist/index.js` },
      { find: /^fulgur\/formats$/, replacement: `${here}/../../dist/formats/index.js` },
    ],
  },
  build: {
    outDir: `${here}/../../dist/web`,
    emptyOutDir: true,
    target: "es2022",
    // Wasm and icons stay files: the engine fetches its kernels by address.
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 1024,
  },
});
