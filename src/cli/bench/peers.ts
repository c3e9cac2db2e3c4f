/**
 * Peers: other libraries that do the same work in the same minutes.
 *
 * A peer is a child process that `bench/peers/NAME` becomes in the folder where its packages are installed (never this
 * package's own). It gets a request a line, `{ suite, … }`, and answers a line, `{ seconds }` for one launch, step or prompt,
 * `{ skip }` where it has no such thing, or `{ error }`. Ours and theirs take turns, run by run, so that whatever else the
 * machine does hits both.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { pathToFileURL } from "node:url";
import { packageRoot } from "../model-options.js";
import { UsageError } from "../output.js";
import { median } from "./timing.js";

interface PeerKind {
  readonly file: string;
  /** npm packages; none for programs of other languages. */
  readonly packages: readonly string[];
  readonly suites: readonly string[];
  /** Programs of suites that have one of their own. */
  readonly fileOf?: Readonly<Record<string, string>>;
}

export const peerKinds: Readonly<Record<string, PeerKind>> = {
  "jax-js": { file: "jax-js.mjs", packages: ["@jax-js/jax"], suites: ["gemm"] },
  "onnxruntime-web": { file: "onnxruntime.mjs", packages: ["onnxruntime-web"], suites: ["gemm"] },
  "onnxruntime-node": { file: "onnxruntime.mjs", packages: ["onnxruntime-node"], suites: ["gemm"] },
  "tfjs-wasm": {
    file: "tfjs-wasm.mjs",
    packages: ["@tensorflow/tfjs-core", "@tensorflow/tfjs-backend-wasm"],
    suites: ["gemm"],
  },
  "node-llama-cpp": { file: "llama-cpp.mjs", packages: ["node-llama-cpp"], suites: ["decode", "prefill"] },
  pytorch: {
    file: "pytorch.py",
    packages: [],
    suites: ["gemm", "gemv", "attention", "lightning", "train"],
    fileOf: { train: "pytorch-train.py" },
  },
};

export const peerNames = Object.keys(peerKinds);

/** What a peer is asked to do, apart from its suite's sizes. */
export type PeerRequest = { readonly suite: string } & Readonly<Record<string, unknown>>;

export interface PeerSeconds {
  /** Name, version and how it runs. */
  readonly device: string;
  readonly seconds: number;
}

/** A measurement that peers take part in. */
export interface Beside {
  /** One turn of every peer. */
  readonly measure: () => Promise<void>;
  /** Medians of the turns. */
  results(): PeerSeconds[];
}

export interface PeerOptions {
  /** Folder with the peers' node_modules. */
  readonly folder: string | undefined;
  readonly threads: number;
  readonly signal: AbortSignal;
}

export class Peers implements AsyncDisposable {
  private constructor(
    private readonly running: readonly Peer[],
    private readonly signal: AbortSignal | undefined,
  ) {}

  static none(): Peers {
    return new Peers([], undefined);
  }

  /** @throws {UsageError} a peer is unknown, has no part in the suite, or is not installed. */
  static async open(names: readonly string[], suite: string, options: PeerOptions): Promise<Peers> {
    const kinds = names.map((name) => checkPeer(name, suite, options.folder));
    const running: Peer[] = [];
    try {
      for (const [i, kind] of kinds.entries())
        running.push(await Peer.start(names[i] as string, kind, programOf(kind, suite), options)); // as many
      return new Peers(running, options.signal);
    } catch (error) {
      for (const peer of running) peer.stop();
      throw error;
    }
  }

  beside(request: PeerRequest): Beside {
    const turns = this.running.map((peer) => ({ peer, seconds: [] as number[] }));
    return {
      measure: async () => {
        for (const { peer, seconds } of turns) {
          this.signal?.throwIfAborted();
          const value = await peer.ask(request);
          if (value !== undefined) seconds.push(value);
        }
      },
      results: () =>
        turns
          .filter(({ seconds }) => seconds.length > 0)
          .map(({ peer, seconds }) => ({ device: peer.label, seconds: median(seconds) })),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const peer of this.running) peer.stop();
  }
}

/** @throws {UsageError} */
export function checkPeer(name: string, suite: string, folder: string | undefined): PeerKind {
  const kind = Object.hasOwn(peerKinds, name) ? peerKinds[name] : undefined;
  if (!kind) throw new UsageError(`--against ${name}: expected one of ${peerNames.join(", ")}`);
  if (!kind.suites.includes(suite)) {
    throw new UsageError(`--against ${name}: it takes part in ${kind.suites.join(", ")}, not in ${suite}`);
  }
  const program = programOf(kind, suite);
  if (!existsSync(program)) {
    throw new UsageError(`--against ${name}: ${program} is missing; it comes with a clone of the repository`);
  }
  if (kind.packages.length === 0) return kind;
  const install = `npm i --ignore-scripts ${kind.packages.join(" ")}`;
  if (folder === undefined) {
    throw new UsageError(
      `--against ${name}: say where it is installed, with --peers DIR or FULGUR_PEERS (in an empty folder: ${install})`,
    );
  }
  const missing = kind.packages.find((one) => !existsSync(join(folder, "node_modules", one)));
  if (missing) throw new UsageError(`--against ${name}: ${missing} is not installed in ${folder} (there: ${install})`);
  return kind;
}

const programOf = ({ file, fileOf }: PeerKind, suite: string) =>
  join(packageRoot, "bench", "peers", fileOf?.[suite] ?? file);

/** A file beside the peers' node_modules that becomes one of the programs in bench/peers. */
const starterName = ".fulgur-peer.mjs";
const starter = `const [file, options] = process.argv.slice(2);
try {
  const { start } = await import(file);
  await start((name) => import(name), JSON.parse(options));
} catch (error) {
  process.stdout.write(JSON.stringify({ error: String(error?.message ?? error) }) + "\\n");
}
`;

/** One child process. */
class Peer {
  label: string;
  private readonly lines: AsyncIterator<string>;
  private readonly reader: Interface;
  private talk = "";

  private constructor(
    readonly name: string,
    private readonly child: ChildProcess,
  ) {
    this.label = name;
    const { stdout, stderr } = child;
    if (!stdout || !stderr) throw new Error("internal: a peer without pipes");
    this.reader = createInterface({ input: stdout });
    this.lines = this.reader[Symbol.asyncIterator]();
    stderr.on("data", (data: Buffer) => {
      this.talk = (this.talk + data.toString()).slice(-2000);
    });
    child.stdin?.on("error", () => undefined); // its end is told by the missing answer
  }

  static async start(name: string, kind: PeerKind, file: string, { folder, threads }: PeerOptions): Promise<Peer> {
    const options = JSON.stringify({ name, threads });
    let child: ChildProcess;
    if (kind.packages.length > 0) {
      // Packages are found from where a module's file lies; text on the command line would be run by workers of the peer too.
      const cwd = resolve(folder ?? ".");
      writeFileSync(join(cwd, starterName), starter);
      child = spawn(process.execPath, [starterName, pathToFileURL(file).href, options], { cwd, stdio: "pipe" });
    } else child = spawn(process.env["FULGUR_PYTHON"] ?? "python3", [file, options], { stdio: "pipe" });
    const peer = new Peer(name, child);
    const failed = new Promise<never>((_, reject) => {
      child.once("error", (cause) => {
        reject(new UsageError(`--against ${name}: it does not start: ${cause.message}`));
      });
    });
    const { label } = await Promise.race([peer.answer(), failed]);
    if (typeof label === "string") peer.label = label;
    return peer;
  }

  /** Seconds; undefined where the peer has no such thing. */
  async ask(request: PeerRequest): Promise<number | undefined> {
    this.child.stdin?.write(`${JSON.stringify(request)}\n`);
    const { seconds, skip } = await this.answer();
    if (typeof seconds === "number" && seconds > 0) return seconds;
    if (skip !== undefined) return undefined;
    throw new Error(`${this.name}: expected seconds, got ${JSON.stringify(seconds)}`);
  }

  stop(): void {
    this.reader.close();
    this.child.stdin?.end();
    this.child.kill();
  }

  private async answer(): Promise<Readonly<Record<string, unknown>>> {
    for (;;) {
      const { done, value } = await this.lines.next();
      if (done) throw new Error(`${this.name} ended early. ${this.talk.trim()}`.trim());
      const answer = parseAnswer(value);
      if (!answer) continue; // libraries talk on stdout too
      if (answer["error"] !== undefined) throw new Error(`${this.name}: ${String(answer["error"])}`);
      return answer;
    }
  }
}

function parseAnswer(line: string): Readonly<Record<string, unknown>> | undefined {
  if (!line.startsWith("{")) return undefined;
  try {
    return JSON.parse(line) as Readonly<Record<string, unknown>>; // begins with a brace: an object
  } catch {
    return undefined;
  }
}
