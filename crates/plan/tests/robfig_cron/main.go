// Writes what github.com/robfig/cron/v3, which Velero reads schedules with, makes of many expressions:
// the times after each of several instants, or that it refuses them. `TZ=UTC go run . > times.json`
package main

import (
	"encoding/json"
	"os"
	"time"

	"github.com/robfig/cron/v3"
)

type entry struct {
	Schedule string     `json:"schedule"`
	Refused  bool       `json:"refused,omitempty"`
	Times    [][]string `json:"times,omitempty"`
}

// None in zones whose clocks move by half an hour or skip midnight: there the library passes over times
// that do come.
var expressions = []string{
	"* * * * *", "0 * * * *", "30 2 * * *", "*/15 * * * *", "*/7 3-5 * * *", "5/20 * * * *", "10-50/20 8 * * *",
	"0 0 1 * *", "0 0 31 * *", "0 0 29 2 *", "0 12 * * 1", "0 12 * * MON-fri", "0 12 13 * 5", "0 12 13 * FRI",
	"0 12 */2 * 1", "0 12 */1 * 1", "0 12 1-31 * 1", "0 12 ? * 1", "0 12 13 * ?", "0 12 13 * */2", "0 12 13 * 0-6",
	"0 0 1 jan *", "0 0 1 JAN,Jul *", "15,45 6,18 * 3-9/3 *", "0 0 1,15 * 3", "0,,30 4 * * *", "0 0 1 1/4 *",
	"0 0 28-31 2 *", "59 23 31 12 *", "0 */6 * * *", "0 0 * * 6", "0 0 * * 0", " 0 5 * * * ", "0	5 * * *", "7 0/5 * * 2/2",
	"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly",
	"@every 1h", "@every 90s", "@every 1h30m", "@every 168h", "@every 1500ms", "@every 6h0m0s",
	"CRON_TZ=Asia/Shanghai 30 2 * * *", "TZ=Asia/Shanghai 30 2 * * *", "CRON_TZ=UTC @daily",
	"CRON_TZ=Europe/Berlin 30 2 * * *", "CRON_TZ=Europe/Berlin */20 2 * * *", "CRON_TZ=Europe/Berlin 0 3 * * *",
	"CRON_TZ=Europe/Berlin 0 0 * * *", "CRON_TZ=Europe/Berlin 0 */3 * * *", "CRON_TZ=Europe/Berlin @weekly",
	"CRON_TZ=America/New_York 30 1 * * *", "CRON_TZ=America/New_York 30 2 * * *", "CRON_TZ=America/New_York 15 * * * 0",
	"CRON_TZ=Asia/Kathmandu 0 0 1 * *", "CRON_TZ=Pacific/Auckland 0 0 * * 1", "CRON_TZ=America/St_Johns 30 0 * * *",
	"61 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 7", "* * * *", "* * * * * *", "", "*/0 * * * *", "5-1 * * * *",
	"a * * * *", "* * * foo *", "@often", "@every x", "@every", "CRON_TZ=Nowhere/City 0 0 * * *", "1-2-3 * * * *", "1/2/3 * * * *",
	"-1 * * * *", "1.5 * * * *", "* * 32 * *", "0 0 * jan-mon *",
}

var starts = []string{
	"2026-01-01T00:00:00Z", "2026-02-27T23:59:59Z", "2026-03-07T12:34:56.789Z", "2026-03-28T20:00:00Z", "2026-04-04T10:00:00Z",
	"2026-10-03T12:00:00Z", "2026-10-24T22:10:00Z", "2026-10-25T00:30:00Z", "2026-10-31T23:59:59.999999999Z", "2026-11-01T05:45:00Z",
	"2027-12-31T23:59:00Z", "2028-02-28T12:00:00Z",
}

func main() {
	var all []entry
	for _, text := range expressions {
		schedule, err := parse(text)
		if err {
			all = append(all, entry{Schedule: text, Refused: true})
			continue
		}
		one := entry{Schedule: text}
		for _, start := range starts {
			at, _ := time.Parse(time.RFC3339Nano, start)
			times := []string{start}
			for range 5 {
				at = schedule.Next(at)
				if at.IsZero() {
					break
				}
				times = append(times, at.UTC().Format(time.RFC3339Nano))
			}
			one.Times = append(one.Times, times)
		}
		all = append(all, one)
	}
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for _, one := range all {
		if err := out.Encode(one); err != nil {
			panic(err)
		}
	}
}

// As Velero does: the reader may panic.
func parse(text string) (schedule cron.Schedule, refused bool) {
	defer func() {
		if recover() != nil {
			refused = true
		}
	}()
	schedule, err := cron.ParseStandard(text)
	return schedule, err != nil
}
