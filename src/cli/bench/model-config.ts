/** A model folder's config.json, for peers that build a model of the same shape. */
import { openFolder } from "../../formats/index.js";

export async function readConfig(where: string): Promise<unknown> {
  const folder = await openFolder(where);
  try {
    return await folder.readJson("config.json");
  } finally {
    await folder.close();
  }
}
