// The peer `gorilla`: github.com/gorilla/websocket with 4 KiB buffers, a goroutine that reads for
// each connection and, in a room, one that writes, as its chat example has it. `/echo` sends back,
// `/room/ID` passes on to all members, the sender included.
package main

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/gorilla/websocket"
)

var upgrader = websocket.Upgrader{
	ReadBufferSize:  4096,
	WriteBufferSize: 4096,
	CheckOrigin:     func(*http.Request) bool { return true },
}

type message struct {
	kind int
	data []byte
}

// A member's queue. It has no bound: the load checks that nothing is dropped.
type queue struct {
	mutex   sync.Mutex
	waiting []message
	ended   bool
	ready   chan struct{}
}

func (q *queue) push(m message) {
	q.mutex.Lock()
	q.waiting = append(q.waiting, m)
	q.mutex.Unlock()
	q.wake()
}

func (q *queue) end() {
	q.mutex.Lock()
	q.ended = true
	q.mutex.Unlock()
	q.wake()
}

func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// write sends the queued messages until the connection ends.
func (q *queue) write(socket *websocket.Conn) {
	var taken []message
	for range q.ready {
		q.mutex.Lock()
		taken, q.waiting = q.waiting, taken[:0]
		ended := q.ended
		q.mutex.Unlock()
		for _, m := range taken {
			if socket.WriteMessage(m.kind, m.data) != nil {
				return
			}
		}
		if ended {
			return
		}
	}
}

type room struct {
	mutex   sync.Mutex
	members map[*queue]struct{}
}

var (
	roomsMutex sync.Mutex
	rooms      = map[string]*room{}
)

func find(name string) *room {
	roomsMutex.Lock()
	defer roomsMutex.Unlock()
	if rooms[name] == nil {
		rooms[name] = &room{members: map[*queue]struct{}{}}
	}
	return rooms[name]
}

// The generator sees the errors of a connection at its own end.
func echo(socket *websocket.Conn) {
	for {
		kind, data, err := socket.ReadMessage()
		if err != nil || socket.WriteMessage(kind, data) != nil {
			return
		}
	}
}

func relay(socket *websocket.Conn, room *room) {
	own := &queue{ready: make(chan struct{}, 1)}
	room.mutex.Lock()
	room.members[own] = struct{}{}
	room.mutex.Unlock()
	go own.write(socket)
	for {
		kind, data, err := socket.ReadMessage()
		if err != nil {
			break
		}
		room.mutex.Lock()
		for member := range room.members {
			member.push(message{kind, data})
		}
		room.mutex.Unlock()
	}
	room.mutex.Lock()
	delete(room.members, own)
	room.mutex.Unlock()
	own.end()
}

func serve(response http.ResponseWriter, request *http.Request) {
	path := request.URL.Path
	if path != "/echo" && !strings.HasPrefix(path, "/room/") {
		http.NotFound(response, request)
		return
	}
	socket, err := upgrader.Upgrade(response, request, nil)
	if err != nil {
		return
	}
	defer socket.Close()
	if path == "/echo" {
		echo(socket)
	} else {
		relay(socket, find(path))
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	line := map[string]string{"message": "listening", "address": listener.Addr().String()}
	if err := json.NewEncoder(os.Stderr).Encode(line); err != nil {
		panic(err)
	}
	panic(http.Serve(listener, http.HandlerFunc(serve)))
}
