// From nothing to 5,000 requests a second in ten seconds, and back.
import { ask, rate, thresholds } from "./common.js";

export const options = {
  scenarios: {
    spike: {
      executor: "ramping-arrival-rate",
      startRate: 0,
      timeUnit: "1s",
      preAllocatedVUs: 256,
      maxVUs: 2000,
      stages: [
        { duration: "10s", target: rate(5000) },
        { duration: "10s", target: rate(5000) },
        { duration: "5s", target: 0 },
      ],
    },
  },
  thresholds,
};

export default ask;
