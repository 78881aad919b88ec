// Prints how many tokens each of the named files has, as JSON.
import { readFileSync } from "node:fs";
import { countTokens } from "gpt-tokenizer/encoding/o200k_base";

const files = process.argv.slice(2);
console.log(JSON.stringify(files.map((file) => countTokens(readFileSync(file, "utf8")))));
