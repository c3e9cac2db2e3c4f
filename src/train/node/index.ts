/** `fulgur/train/node`: trainings with a folder. */
export {
  type CheckpointFile,
  CheckpointWriteError,
  checkpointSteps,
  folderName,
  removeTemporaries,
  writeCheckpoint,
} from "./checkpoint-folders.js";
export { METRICS_FILE, type Metric, readMetrics } from "./metrics.js";
export {
  newestCheckpoint,
  REPORT_FILE,
  type RunOptions,
  type RunResult,
  restoreTrainer,
  runTraining,
  safetensorsFile,
  textFile,
  writeReport,
} from "./run-training.js";
