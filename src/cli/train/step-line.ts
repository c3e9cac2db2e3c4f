/** The progress of a training: one line that rewrites itself on a terminal, a line now and then elsewhere. */
import type { Device } from "../../device/index.js";
import type { StepReport } from "../../train/trainer.js";
import { bytesText, isTerminal, say } from "../output.js";

/** Steps that speed and loss are averaged over. */
const WINDOW = 20;
/** Without a terminal: seconds between lines. */
const QUIET_SECONDS = 15;

export interface StepLine {
  step(report: StepReport): void;
  /** A line of its own. */
  note(text: string): void;
  end(): void;
}

export function stepLine(steps: number, device: Pick<Device, "memory">): StepLine {
  const recent: StepReport[] = [];
  let shown = performance.now();
  let isOpen = false;
  const clear = () => {
    if (isOpen) process.stderr.write("\r\x1b[2K");
    isOpen = false;
  };
  return {
    step(report) {
      recent.push(report);
      if (recent.length > WINDOW) recent.shift();
      const now = performance.now();
      const seconds = (now - shown) / 1000;
      if (seconds < (isTerminal ? 0.1 : QUIET_SECONDS) && report.step < steps) return;
      shown = now;
      const text = progressText(recent, steps, device.memory.peak);
      if (!isTerminal) {
        say(text);
        return;
      }
      process.stderr.write(`\r\x1b[2K${text}`);
      isOpen = true;
    },
    note(text) {
      clear();
      say(text);
    },
    end: clear,
  };
}

/** The newest steps in a line. */
export function progressText(recent: readonly StepReport[], steps: number, bytes: number): string {
  const last = recent.at(-1);
  if (!last) return "";
  const sum = (of: (report: StepReport) => number) => recent.reduce((total, report) => total + of(report), 0);
  const seconds = Math.max(
    1e-9,
    sum((report) => report.seconds),
  );
  const loss = sum(({ loss }) => loss) / recent.length;
  const speed = sum(({ tokens }) => tokens) / seconds;
  const flops = sum(({ flops }) => flops) / seconds;
  const left = ((steps - last.step) * seconds) / recent.length;
  const parts = [
    `step ${last.step} of ${steps}`,
    `loss ${loss.toFixed(4)}`,
    `${speed >= 1e4 ? `${(speed / 1e3).toFixed(1)}k` : speed.toFixed(0)} tokens/s`,
    `${(flops / 1e12).toPrecision(3)} TFLOP/s`,
    bytesText(bytes),
    `${durationText(left)} left`,
  ];
  if (last.skipped > 0) parts.push(`${last.skipped} skipped`);
  return parts.join(" · ");
}

export function durationText(seconds: number): string {
  if (seconds < 60) return `${Math.ceil(seconds)} s`;
  const minutes = Math.round(seconds / 60); // 60 of them are an hour
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
