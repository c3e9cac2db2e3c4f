/** `fulgur/train`: gradients of texts, optimisers, schedules, the trainer, LoRA. Files are `fulgur/train/node`'s. */
export {
  averageTensors,
  OPTIMISER_FILE,
  optimiserTensors,
  ResumeError,
  restoreOptimiser,
  TRAINER_FILE,
  trainerState,
  weightTensors,
} from "./checkpoint.js";
export type { BatchSource, TrainingBatch } from "./data/batch.js";
export { type InitialiseOptions, initialisedFolder } from "./initialise.js";
export { ADAPTER_CONFIG_FILE, ADAPTER_FILE, ATTENTION_TARGETS, Lora, type LoraOptions } from "./lora.js";
export { Optimiser, type OptimiserOptions } from "./optimisers/optimiser.js";
export {
  NotTrainableError,
  type TensorRole,
  type TrainedTensor,
  trainedTensors,
} from "./optimisers/trained-tensors.js";
export { type ReportMetric, trainingReport } from "./report/training-report.js";
export { type Schedule, scheduleShare } from "./schedules.js";
export { type TextGradient, type TextGradientOptions, textGradient, textLoss } from "./text-gradient.js";
export { type Trainee, wholeModel } from "./trainee.js";
export { DivergenceError, type StepReport, Trainer, type TrainerOptions, type TrainerState } from "./trainer.js";
export { parseTrainingConfig, type TrainingConfig, TrainingConfigError } from "./training-config.js";
export { trainingFlops } from "./training-flops.js";
export { type WidenedFolder, widenedFolder } from "./widen.js";
