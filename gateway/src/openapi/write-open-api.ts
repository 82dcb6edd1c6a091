/** `node … write-open-api.ts <file>`: writes the document; a step of `npm run gen`. */
import { writeFileSync } from "node:fs";
import { readContract } from "@onedata/contracts";
import { createOpenApi, openApiText } from "./create-open-api.ts";

const [file] = process.argv.slice(2);
if (file === undefined) throw new Error("usage: write-open-api.ts <file>");
writeFileSync(file, openApiText(createOpenApi(readContract())));
