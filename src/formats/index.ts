/** `fulgur/formats`: bytes in, named tensors out; no device code. */
export { type ByteSource, blobSource, memorySource } from "./byte-source.js";
export {
  type Checkpoint,
  indexFileName,
  openCheckpoint,
  openSafetensors,
  type StreamOptions,
  singleFileName,
  type TensorPiece,
} from "./checkpoint.js";
export { CheckpointError } from "./checkpoint-error.js";
export { type Folder, urlFolder } from "./folder.js";
export { bf16ToF32, f16ToF32, f32ToBf16, f32ToF16 } from "./halves.js";
export { isJsonObject, type JsonOptions, parseJson } from "./json.js";
export { openFolder } from "./open-folder.js";
export { readSafetensorsHeader, type SafetensorsFile, type TensorEntry } from "./safetensors.js";
export { type SafetensorsDtype, safetensorsDtypeBytes, safetensorsDtypes } from "./safetensors-dtype.js";
export { type ByteSink, memorySink, type TensorToWrite, writeSafetensors } from "./safetensors-writer.js";
export { toFloat32, toFloat64 } from "./to-float.js";
export { type UrlOptions, urlSource } from "./url-source.js";
