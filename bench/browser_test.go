package bench

import (
	"context"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPageInABrowser opens the page in a real browser that has no network, in the light and in the dark: the background follows, the bars and lines are
// painted, and the console stays empty.
func TestPageInABrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds; skipped with -short")
	}
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip(err)
	}
	if os.Getuid() != 0 {
		t.Skip("takes root, for a namespace without a network")
	}
	dir := t.TempDir()
	page := filepath.Join(dir, "page.html")
	x := sample()
	x.Profile, x.UplinkProfile = []float64{1, 50, 54}, [][]float64{{1, 45, 48}, {0, 5, 6}}
	if err := newReport("bench lab", nil, []Result{x}).writeHTMLFile(page); err != nil {
		t.Fatal(err)
	}
	for scheme, dark := range map[string]bool{"0": true, "1": false} { // mojom::PreferredColorScheme
		shot := filepath.Join(dir, scheme+".png")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+filepath.Join(dir, "profile"),
			"--blink-settings=preferredColorScheme="+scheme, "--window-size=1000,1400", "--hide-scrollbars", "--enable-logging=stderr", "--screenshot="+shot, "file://"+page)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		out, err := cmd.CombinedOutput()
		late := ctx.Err()
		cancel()
		if late != nil {
			t.Skip("the browser has not finished within a minute: is the machine busy?")
		}
		f, openErr := os.Open(shot)
		if openErr != nil {
			t.Skipf("the browser does not run here: %v, %v:\n%s", err, openErr, out)
		}
		img, err := png.Decode(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(out), ":CONSOLE") {
			t.Errorf("the console says:\n%s", out)
		}
		if got := light(img.At(2, 2)) < 0.5; got != dark {
			t.Errorf("asked to be dark: %v; the background is %v", dark, img.At(2, 2))
		}
		painted := 0 // strong colours: bars and lines; text and background are greys
		for y := range img.Bounds().Dy() {
			for x := range img.Bounds().Dx() {
				if r, _, b, _ := img.At(x, y).RGBA(); max(r, b)-min(r, b) > 0x6000 {
					painted++
				}
			}
		}
		if painted < 10_000 {
			t.Errorf("dark %v: %d pixels of bars and lines", dark, painted)
		}
	}
}

// light is the brightness of a colour, 0 to 1.
func light(c color.Color) float64 { return float64(color.GrayModel.Convert(c).(color.Gray).Y) / 255 }
