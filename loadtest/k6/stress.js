// More and more until something gives: which rate that is, is the result. Failed requests end the run early; answers that only
// take longer do not, for k6 itself is the first to be short of processors on a small machine.
import { ask, rate } from "./common.js";

const most = rate(20000);

export const options = {
  scenarios: {
    stress: {
      executor: "ramping-arrival-rate",
      startRate: 100,
      timeUnit: "1s",
      preAllocatedVUs: 512,
      maxVUs: 4000,
      stages: [1, 2, 3, 4].map((quarter) => ({ duration: "20s", target: (most * quarter) / 4 })),
    },
  },
  thresholds: { http_req_failed: [{ threshold: "rate<0.001", abortOnFail: true, delayAbortEval: "5s" }] },
};

export default ask;
