#include "torch/kept.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include <vector>

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/StorageImpl.h>
#include <pthread.h>

#include "core/arithmetic.h"

namespace torchconv {
namespace {

constexpr int64_t kLeastBytes = 4 << 10;  // of a weight: below, to look is dearer than to prepare
constexpr int64_t kCompareBytes = 64 << 10;  // by one task; and so late is a difference noticed
constexpr int64_t kParallelBytes = 1 << 20;  // where one thread is slower than several
constexpr size_t kMostRecords = 1024;        // of weights met, kept or not: some 300 bytes each
constexpr int64_t kMostPatience = 64;

// Where a weight lies, how, and what is made of which of its taps.
constexpr int kNumbers = 10 + 2 * (2 + kMaxAxes) + kMaxAxes;
using Key = std::array<int64_t, kNumbers>;

Key key_of(const Choice& choice, const Problem& p, const View& view, const at::Tensor& weight) {
  Key key{int64_t(reinterpret_cast<uintptr_t>(weight.storage().unsafeGetStorageImpl())),
          int64_t(reinterpret_cast<uintptr_t>(weight.const_data_ptr())),
          int64_t(reinterpret_cast<uintptr_t>(choice.algorithm)),
          int64_t(choice.kept.layout),
          int64_t(p.result),
          int64_t(p.dtype),
          int64_t(p.flip),
          p.groups,
          static_cast<const char*>(view.data) - static_cast<const char*>(weight.const_data_ptr()),
          weight.dim()};
  auto next = key.begin() + 10;
  next = std::copy(weight.sizes().begin(), weight.sizes().end(), next);
  next = std::copy(weight.strides().begin(), weight.strides().end(), next);
  for (int a = 0; a < p.axes; ++a) *next++ = p.axis[a].kernel_size;
  return key;
}

struct HashKey {
  size_t operator()(const Key& key) const {
    uint64_t hash = 0;
    for (const int64_t number : key) {
      hash = (hash ^ uint64_t(number)) * 0x9e3779b97f4a7c15;
      hash ^= hash >> 32;
    }
    return hash;
  }
};

// Only a hint: it may stay where the weight changes. Inference tensors have none.
int64_t version_of(const at::Tensor& weight) {
  const c10::VariableVersion& counter = weight.unsafeGetTensorImpl()->version_counter();
  return counter.enabled() ? counter.current_version() : 0;
}

// Every byte between the first and the last belongs to the weight.
bool can_keep(const Choice& choice, const Problem& p, const at::Tensor& weight) {
  return choice.kept.bytes > 0 && p.result != Result::weight && weight.has_storage() &&
         weight.is_non_overlapping_and_dense() && int64_t(weight.nbytes()) >= kLeastBytes;
}

}  // namespace

struct PreparedWeight {
  Key key;
  int64_t bytes;  // of all of it
  int64_t weight_bytes;
  c10::DataPtr copy, memory;

  // Whether the weight is what it was.
  bool is_of(const void* weight, const Context& context) const {
    std::atomic<bool> same{true};
    const auto compare = [&](int64_t task, int) {
      const int64_t begin = task * kCompareBytes;
      const int64_t count = std::min(kCompareBytes, weight_bytes - begin);
      if (same.load(std::memory_order_relaxed) &&
          std::memcmp(static_cast<const char*>(weight) + begin,
                      static_cast<const char*>(copy.get()) + begin, size_t(count)) != 0)
        same.store(false, std::memory_order_relaxed);
    };
    context.for_each(ceil_div(weight_bytes, kCompareBytes),
                     weight_bytes < kParallelBytes ? 1 : context.threads, compare);
    return same;
  }
};

namespace {

using Prepared = std::shared_ptr<PreparedWeight>;

// What is known of a weight. Its uses between two changes are a round.
struct Record {
  explicit Record(const c10::Storage& of) : storage(of.getWeakStorageImpl()) {}
  c10::weak_intrusive_ptr<c10::StorageImpl> storage;  // once it is gone, so is what is kept
  Prepared prepared;
  bool preparing = false;  // by some thread
  int64_t version = -1;
  int64_t uses = 0;      // in this round, as far as the version tells
  int64_t hits = 0;      // in this round, for certain
  int64_t patience = 2;  // the use of a round that prepares
  int64_t last_use = 0;

  void begin_round(int64_t new_version) {
    const int64_t sure = version == new_version ? hits + 1 : uses;  // that version did not tell
    if (sure >= 2)
      patience = 1;
    else if (prepared)  // in vain
      patience = std::min(2 * patience, kMostPatience);
    version = new_version;
    uses = hits = 0;
  }
};

class Store {
 public:
  std::mutex mutex;
  // Read without the mutex, for calls that keep nothing.
  std::atomic<int64_t> limit{kDefaultKeptLimit};
  int64_t bytes = 0;  // of what is kept and what is being prepared
  std::unordered_map<Key, Record, HashKey> records;
  std::vector<Record*> kept;  // those with `prepared`
  int64_t time = 0;           // counts calls

  // Never destroyed: at exit, other statics may still convolve.
  static Store& instance() {
    static Store* const store = [] {
      // A child must not wait for a thread that it does not have.
      pthread_atfork([] { instance().mutex.lock(); }, [] { instance().mutex.unlock(); },
                     [] { instance().begin_in_child(); });
      return new Store;
    }();
    return *store;
  }

  // What other threads of the parent were preparing is not to come.
  void begin_in_child() {
    bytes = 0;
    for (auto& [key, record] : records) {
      record.preparing = false;
      if (record.prepared) bytes += record.prepared->bytes;
    }
    mutex.unlock();
  }

  // Everything below asks for the mutex, and puts what is to be freed into `garbage`, for after it.
  using Garbage = std::vector<Prepared>;

  void drop(Record* record, Garbage* garbage) {
    bytes -= record->prepared->bytes;
    garbage->push_back(std::move(record->prepared));
    record->prepared = nullptr;
    *std::find(kept.begin(), kept.end(), record) = kept.back();
    kept.pop_back();
  }

  void drop_dead(Garbage* garbage) {
    for (size_t i = kept.size(); i-- > 0;)
      if (kept[i]->storage.expired()) drop(kept[i], garbage);
  }

  void clear(Garbage* garbage) {
    while (!kept.empty()) drop(kept.back(), garbage);
    records.clear();
  }

  Record& meet(const Key& key, const at::Tensor& weight) {
    const auto found = records.find(key);
    if (found != records.end()) return found->second;
    if (records.size() >= kMostRecords)
      for (auto it = records.begin(); it != records.end();)
        it = it->second.prepared ? std::next(it) : records.erase(it);
    return records.try_emplace(key, weight.storage()).first->second;
  }

  // Makes room by what was last used before the newcomer's own last use: of weights that come round
  // in turn and do not all fit, some stay, where the plain order would let none be met again.
  bool make_room(int64_t wanted, int64_t last_use, Garbage* garbage) {
    const auto older = [](const Record* a, const Record* b) { return a->last_use < b->last_use; };
    int64_t available = limit - bytes;
    for (const Record* record : kept)
      if (record->last_use < last_use) available += record->prepared->bytes;
    if (wanted > available) return false;
    while (bytes + wanted > limit)
      drop(*std::min_element(kept.begin(), kept.end(), older), garbage);
    return true;
  }
};

void give_up(const Key& key, int64_t bytes) {
  Store& store = Store::instance();
  const std::lock_guard lock(store.mutex);
  store.bytes -= bytes;
  const auto found = store.records.find(key);
  if (found != store.records.end()) found->second.preparing = false;
}

}  // namespace

void KeptWeight::look_up(const Choice& choice, const Problem& problem, const at::Tensor& weight,
                         Operands* operands, Context* context) {
  Store& store = Store::instance();
  if (store.limit == 0 || !can_keep(choice, problem, weight)) return;
  const Key key = key_of(choice, problem, operands->weight, weight);
  const void* const data = weight.const_data_ptr();
  Store::Garbage garbage;  // freed after the lock, which is declared below it
  Prepared found;
  {
    const std::lock_guard lock(store.mutex);
    store.drop_dead(&garbage);
    found = store.meet(key, weight).prepared;
  }
  const bool same = found && found->is_of(data, *context);

  std::unique_lock lock(store.mutex);
  Record& record = store.meet(key, weight);
  const int64_t version = version_of(weight), last_use = record.last_use;
  record.last_use = ++store.time;
  if (same) {
    ++record.uses;
    ++record.hits;
    prepared_ = std::move(found);
    context->kept = prepared_->memory.get();
    context->filled = true;
    return;
  }
  if (found || record.version != version) {
    record.begin_round(version);
    if (record.prepared) store.drop(&record, &garbage);
  }
  if (++record.uses < record.patience || record.preparing || record.prepared) return;
  const int64_t bytes = choice.kept.bytes + int64_t(weight.nbytes());
  if (!store.make_room(bytes, last_use, &garbage)) return;
  store.bytes += bytes;
  record.preparing = true;
  lock.unlock();
  garbage.clear();  // before more is asked for

  try {
    prepared_ = std::make_shared<PreparedWeight>(PreparedWeight{
        key, bytes, int64_t(weight.nbytes()), c10::GetCPUAllocator()->allocate(weight.nbytes()),
        c10::GetCPUAllocator()->allocate(size_t(choice.kept.bytes))});
  } catch (const std::exception&) {  // the call itself may well have memory enough
    give_up(key, bytes);
    return;
  }
  pending_ = true;
  char* const copy = static_cast<char*>(prepared_->copy.get());
  std::memcpy(copy, data, weight.nbytes());
  context->kept = prepared_->memory.get();
  View& view = operands->weight;  // which begins elsewhere where taps are flipped or dropped
  view.data = copy + (static_cast<const char*>(view.data) - static_cast<const char*>(data));
}

void KeptWeight::commit() {
  if (!pending_) return;
  pending_ = false;
  Store& store = Store::instance();
  {
    const std::lock_guard lock(store.mutex);
    const auto found = store.records.find(prepared_->key);
    if (found != store.records.end() && !found->second.prepared && store.bytes <= store.limit) {
      found->second.preparing = false;
      found->second.prepared = prepared_;
      store.kept.push_back(&found->second);
      return;
    }
  }
  give_up(prepared_->key, prepared_->bytes);
}

KeptWeight::~KeptWeight() {
  if (pending_) give_up(prepared_->key, prepared_->bytes);
}

bool is_kept(const Choice& choice, const Problem& problem, const View& view,
             const at::Tensor& weight) {
  if (!can_keep(choice, problem, weight)) return false;
  Store& store = Store::instance();
  Prepared found;
  {
    const std::lock_guard lock(store.mutex);
    const auto record = store.records.find(key_of(choice, problem, view, weight));
    if (record != store.records.end()) found = record->second.prepared;
  }
  return found && found->is_of(weight.const_data_ptr(), Context());
}

int64_t kept_bytes(const Kept& kept, const Problem& p) {
  if (kept.bytes == 0) return 0;
  const int64_t weights = p.out_channels * p.in_channels_per_group() * p.taps();
  return kept.bytes + weights * element_bytes(p.dtype);
}

void set_kept_limit(int64_t bytes) {
  Store& store = Store::instance();
  Store::Garbage garbage;
  const std::lock_guard lock(store.mutex);
  store.clear(&garbage);
  store.limit = bytes;
}

KeptState kept_state() {
  Store& store = Store::instance();
  Store::Garbage garbage;
  const std::lock_guard lock(store.mutex);
  store.drop_dead(&garbage);
  int64_t bytes = 0;
  for (const Record* record : store.kept) bytes += record->prepared->bytes;
  return {store.limit, bytes, int64_t(store.kept.size())};
}

}  // namespace torchconv
