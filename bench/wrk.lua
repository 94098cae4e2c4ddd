-- Sends the requests of the file $REQUESTS ("~" ends each) in turn, and prints what came of it as one line of JSON.
local requests, number = {}, 0

init = function(args)
  for each in io.open(os.getenv("REQUESTS")):read("*a"):gmatch("([^~]+)~") do
    requests[#requests + 1] = each
  end
end

request = function()
  number = number % #requests + 1
  return requests[number]
end

done = function(summary, latency, requests)
  local e = summary.errors
  print(string.format('{"requests":%d,"us":%d,"errors":%d,"p99_us":%d}', summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(99)))
end
