// C++17 over releq.h: objects that free themselves, failures that are exceptions. Header only.
#ifndef RELEQ_HPP
#define RELEQ_HPP

#include "releq.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace releq {

/// What a function of releq.h says where it fails.
struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Name and extents of one sample of an input or output, as in ONNX.
struct Port {
    std::string name;
    std::vector<std::size_t> shape;
};

/// A loaded network. Copies share it; threads may.
class Model {
public:
    /// Reads a file and checks every byte of it.
    explicit Model(const std::string &path) {
        own(releq_model_open(path.c_str(), message_, sizeof message_));
    }

    /// Copies and checks bytes.
    Model(const void *bytes, std::size_t size) {
        own(releq_model_load(bytes, size, message_, sizeof message_));
    }

    std::vector<Port> inputs() const {
        return ports(releq_model_inputs(get()), releq_model_input_name, releq_model_input_shape);
    }

    std::vector<Port> outputs() const {
        return ports(releq_model_outputs(get()), releq_model_output_name, releq_model_output_shape);
    }

    const releq_model *get() const {
        return model_.get();
    }

private:
    void own(releq_model *model) {
        if (model == nullptr)
            throw Error(message_);
        model_.reset(model, releq_model_free);
    }

    template <class Name, class Shape>
    std::vector<Port> ports(std::size_t count, Name name, Shape shape) const {
        std::vector<Port> found;
        for (std::size_t i = 0; i < count; i++) {
            std::size_t extents[8];
            const std::size_t rank = shape(get(), i, extents, 8);
            found.push_back({name(get(), i), {extents, extents + rank}});
        }
        return found;
    }

    std::shared_ptr<releq_model> model_;
    char message_[512] = {};
};

/// A network planned for this machine. Moves; one a thread for runs at the same time.
class Session {
public:
    /// `isa` is empty for the best instruction set there is. Results depend neither on it nor on `threads`.
    explicit Session(const Model &model, std::size_t threads = 1, const std::string &isa = {})
        : session_(releq_session_new(model.get(), isa.empty() ? nullptr : isa.c_str(), threads, message_, sizeof message_),
                   releq_session_free) {
        if (!session_)
            throw Error(message_);
    }

    std::size_t input_size() const {
        return releq_session_input_size(session_.get());
    }

    std::size_t output_size() const {
        return releq_session_output_size(session_.get());
    }

    std::string isa() const {
        return releq_session_isa(session_.get());
    }

    /// How pixels become inputs: (pixel / 255 - mean) / std, a value for all channels or one a channel; as they are without.
    void set_pixels(const std::vector<float> &mean = {}, const std::vector<float> &std = {}) {
        if (mean.size() != std.size())
            throw Error("mean and std: as many values are required");
        check(releq_session_set_pixels(session_.get(), mean.data(), std.data(), mean.size(), message_, sizeof message_));
    }

    /// Runs the samples in `input`, one or many: for each all inputs one after the other, in the order of ONNX.
    std::vector<float> run(const std::vector<float> &input) {
        const std::size_t samples = count(input.size());
        std::vector<float> output(samples * output_size());
        check(releq_session_run(session_.get(), input.data(), samples, output.data(), message_, sizeof message_));
        return output;
    }

    /// The same for 8-bit pixels.
    std::vector<float> run(const std::vector<std::uint8_t> &pixels) {
        const std::size_t samples = count(pixels.size());
        std::vector<float> output(samples * output_size());
        check(releq_session_run_u8(session_.get(), pixels.data(), samples, output.data(), message_, sizeof message_));
        return output;
    }

private:
    void check(int failed) const {
        if (failed != 0)
            throw Error(message_);
    }

    std::size_t count(std::size_t values) const {
        if (values == 0 || values % input_size() != 0)
            throw Error(std::to_string(values) + " values; a multiple of " + std::to_string(input_size()) + " is required");
        return values / input_size();
    }

    char message_[512] = {};
    std::unique_ptr<releq_session, void (*)(releq_session *)> session_;
};

} // namespace releq

#endif
