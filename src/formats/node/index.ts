/** `fulgur/formats/node`: files and directories for `fulgur/formats`. */
export { writeFileAtomic } from "./atomic-file.js";
export { directoryFolder, openCheckpointDirectory } from "./directory-folder.js";
export { fileSource } from "./file-source.js";
