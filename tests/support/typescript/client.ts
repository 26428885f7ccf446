// Submits, awaits, lists, follows and cancels tasks with types of openapi-typescript. Prints what it saw as JSON.
import createClient from "openapi-fetch";
import type { components, paths } from "./api";

declare const process: { argv: string[] };

const [url, token] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${token}` } });
const TASK: components["schemas"]["TaskCreate"] = {
  name: "x",
  task_type: "typescript",
  celery_task_name: "app.tasks.common_tasks.long_running_task",
  args: [0],
};

async function submit(options: Partial<components["schemas"]["TaskCreate"]>): Promise<string> {
  const { data } = await client.POST("/api/v1/tasks/", { body: { ...TASK, ...options } });
  return data!.id;
}

async function main(): Promise<void> {
  const path = { task_id: await submit({ priority: "high" }) };
  const ended = await client.GET("/api/v1/tasks/{task_id}", { params: { path, query: { wait: 30 } } });
  const listed = await client.GET("/api/v1/tasks/", { params: { query: { status: ["succeeded"] } } });
  const stream = await client.GET("/api/v1/tasks/{task_id}/events", { params: { path }, parseAs: "text" });
  const later = { task_id: await submit({ delay_seconds: 3600 }) };
  const cancelled = await client.POST("/api/v1/tasks/{task_id}/cancel", { params: { path: later } });
  const missing = await client.GET("/api/v1/tasks/{task_id}", {
    params: { path: { task_id: "00000000-0000-0000-0000-000000000000" } },
  });
  const status: components["schemas"]["TaskStatus"] = ended.data!.status;
  console.log(
    JSON.stringify({
      ended: status,
      listed: listed.data!.map((task) => task.id).includes(path.task_id),
      stream: stream.data!.includes(`"id":"${path.task_id}"`),
      cancelled: cancelled.data!.status,
      missing: missing.error!.code,
    }),
  );
}

main();
