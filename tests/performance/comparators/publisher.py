"""`python -m tests.performance.comparators.publisher URL CHANNEL COUNT PAUSE`: the time, published to a channel."""

import sys
import time

import redis

if __name__ == "__main__":
    url, channel, count, pause = sys.argv[1:]
    with redis.Redis.from_url(url) as connection:
        for _ in range(int(count)):
            time.sleep(float(pause))
            connection.publish(channel, repr(time.time()))
