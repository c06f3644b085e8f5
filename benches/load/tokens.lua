-- For wrk: each request shows the next of COUNT tokens, one a line in the file TOKENS.
local requests, next_one = {}, 0

function init()
  local count = tonumber(os.getenv("COUNT"))
  for token in io.lines(os.getenv("TOKENS")) do
    if #requests == count then break end
    wrk.headers["Authorization"] = "Bearer " .. token
    requests[#requests + 1] = wrk.format("GET")
  end
end

function request()
  next_one = next_one % #requests + 1
  return requests[next_one]
end
