/** `npm start`: sets up what is missing, builds, and runs the command line (by default `start`: model, page and server). */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { checkNode, ensureBuild, ensureDependencies, root } from "./prepare.mjs";

checkNode();
ensureDependencies();
ensureBuild();
const args = process.argv.slice(2);
const child = spawn(process.execPath, [join(root, "dist", "cli", "main.js"), ...(args.length > 0 ? args : ["start"])], {
  // npm changes to the package's folder: paths on the command line are meant from where the user stands.
  cwd: process.env.INIT_CWD ?? process.cwd(),
  stdio: "inherit",
});
// The terminal sends Ctrl-C to both: the child decides what it means.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"])
  process.on(signal, () => signal !== "SIGINT" && child.kill(signal));
child.on("exit", (code, signal) => process.exit(code ?? (signal === "SIGINT" ? 130 : 1)));
