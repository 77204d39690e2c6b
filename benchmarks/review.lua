-- Sends reviews made from a template, each with a number of its own.  Behind "--": the file with the
-- template, how many shapes there are (0: no Pod is like another), the number to begin with, and
-- what stands in the template for number and shape.
local parts, number, shapes = {}, 0, 0

function init(args)
  local file = assert(io.open(args[1], "rb"))
  local text = file:read("*a")
  file:close()
  shapes, number = tonumber(args[2]), tonumber(args[3])
  local at = 1
  while at <= #text do
    local n = text:find(args[4], at, true) or #text + 1
    local s = text:find(args[5], at, true) or #text + 1
    local stop = math.min(n, s)
    parts[#parts + 1] = text:sub(at, stop - 1)
    if stop > #text then break end
    parts[#parts + 1] = n < s and "number" or "shape"
    at = stop + (n < s and #args[4] or #args[5])
  end
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
end

function request()
  local shape = shapes > 0 and number % shapes or number
  local body = {}
  for i, part in ipairs(parts) do
    if i % 2 == 1 then
      body[i] = part
    elseif part == "number" then
      body[i] = string.format("%012d", number)
    else
      body[i] = string.format("%010d", shape)
    end
  end
  number = number + 1
  return wrk.format(nil, nil, nil, table.concat(body))
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "errors": %d, "p50": %.3f, "p99": %.3f, "p999": %.3f}\n',
    summary.requests, summary.duration / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency:percentile(99.9) / 1e3))
end
