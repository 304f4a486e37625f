// Lists of jobs and pipelines stay true while they are in view. The pages work without this file.
import { refresh } from "./parts.js";

const EVERY_MS = 3000;
setInterval(() => { if (!document.hidden) refresh(); }, EVERY_MS);
