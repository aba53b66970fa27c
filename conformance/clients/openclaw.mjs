// The reference client of the OpenClaw gateway protocol against a gateway with gateway.openclawCompat on.
// `npm ci` here, then `node openclaw.mjs ws://127.0.0.1:18789 TOKEN`. Exit code 0: it connected and `health` answered.
import { GatewayClient } from "@openclaw/gateway-client";

const [url = "ws://127.0.0.1:18789", token = process.env.OPENCLAW_GATEWAY_TOKEN] = process.argv.slice(2);
const fail = (why) => {
  console.error("FAILED:", why);
  process.exit(1);
};
const late = setTimeout(() => fail("nothing within 10 s"), 10_000);
const client = new GatewayClient({
  url,
  token,
  minProtocol: 4,
  maxProtocol: 4,
  onHelloOk: async (hello) => {
    try {
      if (hello.protocol !== 4) fail(`protocol ${hello.protocol}`);
      const health = await client.request("health", {});
      if (health.status !== "ok") fail(JSON.stringify(health));
      console.log("connected with protocol", hello.protocol, "and asked for health:", JSON.stringify(health));
      clearTimeout(late);
      client.stop();
      process.exit(0);
    } catch (error) {
      fail(error);
    }
  },
  onConnectError: (error) => fail(error),
});
client.start();
